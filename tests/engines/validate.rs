//! Envoy accepts every config that the built-ins render. It refuses unknown fields and says where, so this is the strict check.

use std::process::Output;

use serde_json::{Value, json};

use crate::pod::{Layout, Pod, Secrets};
use crate::process::envoy;

const HTTPS: &str = "sidecar.outrigger.dev/https";
const SHARD: &str = "ambassador.outrigger.dev/redis-shard";

/// `--mode validate` loads everything and opens no port, so the given ports need not be free.
fn validate(layout: &Layout) -> Output {
    let mut command = layout.command(&envoy());
    command.args(["--mode", "validate"]);
    command.output().expect("envoy runs")
}

fn lay_out(annotations: &[(&str, Value)], container: &str) -> Layout {
    let certificate = ["tls.crt", "tls.key"].map(|file| (file.to_owned(), String::new()));
    let secrets = Secrets::of("shop-tls", certificate.into());
    let password = [("password", "hunter2"), ("other", "hunter2")];
    let password = password.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut all = secrets;
    all.0.insert("redis-auth".to_owned(), password.into());
    Pod::inject(annotations, 8080).lay_out(container, &all)
}

/// Validates one instance's config for each set of parameters; every refusal is shown.
fn accepted(annotation: &str, container: &str, table: &[(&str, Value)]) {
    let mut refusals = Vec::new();
    for (name, params) in table {
        let output = validate(&lay_out(&[(annotation, params.clone())], container));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            refusals.push(format!("{name}: {said}"));
        } else if said.contains("deprecated") {
            refusals.push(format!("{name} is accepted, but: {said}"));
        }
    }
    assert!(refusals.is_empty(), "{}", refusals.join("\n"));
}

#[test]
fn https_configs() {
    let with = |mut params: Value| {
        params["secretName"] = json!("shop-tls");
        params
    };
    accepted(
        HTTPS,
        "https",
        &[
            ("defaults", with(json!({}))),
            ("port", with(json!({"port": 10443}))),
            (
                "port number instead of a name",
                with(json!({"appPort": 8080})),
            ),
            ("only TLS 1.3", with(json!({"minTLS": "1.3"}))),
            (
                "a fraction of a second",
                with(json!({"idleTimeout": "1m0.25s"})),
            ),
            ("milliseconds", with(json!({"idleTimeout": "1ms"}))),
            (
                "the longest that the schema allows",
                with(json!({"idleTimeout": "99999.999h99999h99999h99999h"})),
            ),
            ("one connection", with(json!({"maxConnections": 1}))),
            (
                "a million connections",
                with(json!({"maxConnections": 1_000_000})),
            ),
            ("no HTTP/1.0", with(json!({"acceptHTTP10": false}))),
            ("hops", with(json!({"trustedHops": 20}))),
            (
                "everything",
                with(json!({
                    "port": 9443, "appPort": "http", "minTLS": "1.3", "idleTimeout": "90s", "maxConnections": 500,
                    "acceptHTTP10": false, "trustedHops": 2, "concurrency": 8,
                })),
            ),
        ],
    );
}

#[test]
fn redis_shard_configs() {
    let two = json!(["redis-0.redis:6379", "redis-1.redis:6379"]);
    let with = |mut params: Value| {
        params["shards"] = two.clone();
        params
    };
    let many: Vec<_> = (0..1024)
        .map(|shard| format!("redis-{shard}.redis:6379"))
        .collect();
    accepted(
        SHARD,
        "redis-shard",
        &[
            ("defaults", with(json!({}))),
            ("port", with(json!({"port": 6400}))),
            ("one shard", json!({"shards": ["redis-0.redis:6379"]})),
            (
                "as many shards as the schema allows",
                json!({"shards": many}),
            ),
            (
                "addresses",
                json!({"shards": ["10.0.0.7:6379", "[fd00::7]:6379", "[::1]:6380"]}),
            ),
            (
                "the same server twice",
                json!({"shards": ["redis-0.redis:6379", "redis-0.redis:6379"]}),
            ),
            (
                "a name with its final dot",
                json!({"shards": ["redis-0.redis.shop.svc.cluster.local.:6379"]}),
            ),
            ("remap", with(json!({"onShardFailure": "remap"}))),
            (
                "password",
                with(json!({"passwordSecret": {"name": "redis-auth"}})),
            ),
            ("milliseconds", with(json!({"opTimeout": "250ms"}))),
            ("minutes", with(json!({"opTimeout": "1m30s"}))),
            (
                "the longest that the schema allows",
                with(json!({"opTimeout": "99999.999m99999m99999m99999m"})),
            ),
            ("no hashtag", with(json!({"hashtag": false}))),
            ("nothing blocked", with(json!({"blockCommands": []}))),
            ("one blocked", with(json!({"blockCommands": ["FlushAll"]}))),
            (
                "everything",
                with(json!({
                    "port": 6400, "onShardFailure": "remap", "opTimeout": "0.5s", "hashtag": false,
                    "blockCommands": ["select", "keys"], "passwordSecret": {"name": "redis-auth", "key": "other"},
                })),
            ),
        ],
    );
}

#[test]
fn two_instances_in_one_pod() {
    let annotations = [
        (
            SHARD,
            json!({"shards": ["redis-0.redis:6379", "redis-1.redis:6379"]}),
        ),
        (
            "ambassador.outrigger.dev/redis-shard.sessions",
            json!({"shards": ["sess-0:6379"], "port": 6381, "onShardFailure": "remap"}),
        ),
        (HTTPS, json!({"secretName": "shop-tls"})),
    ];
    for container in ["redis-shard", "redis-shard--sessions", "https"] {
        let output = validate(&lay_out(&annotations, container));
        assert!(output.status.success(), "{container}: {output:?}");
    }
}

/// Were the check blind, all of the above would pass for nothing.
#[test]
fn a_misspelt_field_is_refused() {
    let layout = lay_out(&[(HTTPS, json!({"secretName": "shop-tls"}))], "https");
    layout.tamper(
        "/etc/outrigger/envoy.yaml",
        "xff_num_trusted_hops",
        "xff_num_trusted_hop",
    );
    let output = validate(&layout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("xff_num_trusted_hop"), "{said}");
}

/// What runs here is what the patterns' images hold.
#[test]
fn this_envoy_is_the_images() {
    let output = std::process::Command::new(envoy())
        .arg("--version")
        .output()
        .expect("envoy runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let annotations = [
        (HTTPS, json!({"secretName": "shop-tls"})),
        (SHARD, json!({"shards": ["redis-0.redis:6379"]})),
    ];
    let pod = Pod::inject(&annotations, 8080);
    for container in ["https", "redis-shard"] {
        let image = pod.container(container)["image"]
            .as_str()
            .expect("an image");
        let (_, version) = image.rsplit_once("-v").expect("a version");
        assert!(
            said.contains(&format!("/{version}/")),
            "{image} is not {said}"
        );
    }
}
