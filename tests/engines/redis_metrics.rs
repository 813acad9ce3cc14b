//! `redis-metrics`: the exporter with the rendered environment and arguments beside a real Redis.
//!
//! Debian's exporter (1.45 in bookworm) is older than the one that the pattern's image names. The variables that the pattern sets
//! mean the same in both; what only the newer one has is not seen here.

use serde_json::{Value, json};

use crate::pod::{Pod, Running, Secrets};
use crate::process::{binary, free_port, get};
use crate::redis::Server;

/// A running adapter.
struct Adapter {
    exporter: Running,
    port: u16,
}

impl Adapter {
    fn start(mut params: Value, server: &Server, secrets: &Secrets) -> Self {
        let port = free_port();
        params["port"] = json!(port);
        params["address"] = json!(format!("redis://{}", server.address()));
        let pod = Pod::inject(&[("adapter.outrigger.dev/redis-metrics", params)], 8080);
        let layout = pod.lay_out("redis-metrics", secrets);
        let binary = binary("OUTRIGGER_REDIS_EXPORTER");
        let mut adapter = Self {
            exporter: layout.start("redis exporter", &binary),
            port,
        };
        // As the pattern's livenessProbe does.
        let process = &mut adapter.exporter.process;
        process.until("the exporter is alive", || get(port, "/health").ok());
        adapter
    }

    /// The value of `redis_up`.
    fn up(&self) -> Result<String, String> {
        let metrics = get(self.port, "/metrics").ok()?;
        metrics
            .lines()
            .find_map(|line| line.strip_prefix("redis_up "))
            .map(str::to_owned)
            .ok_or_else(|| format!("no redis_up in {metrics}"))
    }
}

fn secret(password: &str) -> Secrets {
    Secrets::of(
        "redis-auth",
        [("password".to_owned(), password.to_owned())].into(),
    )
}

#[test]
fn redis_up_follows_redis_and_the_exporter_outlives_it() {
    let mut server = Server::start(&[]);
    server.client().ask(&["SET", "a", "1"]).expect("set");
    let mut adapter = Adapter::start(json!({}), &server, &Secrets::default());
    assert_eq!(adapter.up(), Ok("1".to_owned()));
    let metrics = get(adapter.port, "/metrics").ok().expect("metrics");
    assert!(
        metrics.contains("redis_db_keys{db=\"db0\"} 1\n"),
        "{metrics}"
    );
    server.stop();
    assert_eq!(adapter.up(), Ok("0".to_owned()));
    // A broken Redis must not take the Pod's probes with it.
    assert_eq!(get(adapter.port, "/health").status, 200);
    server.restart();
    assert_eq!(adapter.up(), Ok("1".to_owned()));
    adapter.exporter.process.assert_running();
}

#[test]
fn the_password_comes_from_the_secret() {
    let server = Server::start(&["--requirepass", "hunter2"]);
    let params = json!({"passwordSecret": {"name": "redis-auth"}});
    let up = |password| Adapter::start(params.clone(), &server, &secret(password)).up();
    assert_eq!(up("hunter2"), Ok("1".to_owned()));
    assert_eq!(up("hunter3"), Ok("0".to_owned()));
}

#[test]
fn an_acl_user_logs_in() {
    let server = Server::start(&["--requirepass", "root"]);
    let mut client = server.client();
    client.ask(&["AUTH", "root"]).expect("the password");
    client
        .ask(&["ACL", "SETUSER", "metrics", "on", ">hunter2", "~*", "+@all"])
        .expect("a user");
    let params = |user: &str| json!({"user": user, "passwordSecret": {"name": "redis-auth"}});
    let up = |user| Adapter::start(params(user), &server, &secret("hunter2")).up();
    assert_eq!(up("metrics"), Ok("1".to_owned()));
    assert_eq!(up("nobody"), Ok("0".to_owned()));
}
