//! MariaDB and PostgreSQL. Both are broken in the same ways, one after the other.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{DEADLINE, Health};
use crate::support::authority::Authority;
use crate::support::databases::{Database, Engine, PASSWORD, USER};
use crate::support::{get, until};

/// What a shop would ask.
const QUERY: &str = "SELECT id FROM orders WHERE id > 0 ORDER BY id DESC LIMIT 1";
const LATE: &str = "no answer within 1s";

/// A check of the shop, with more fields, or others. Its answers are kept for so short that none is old.
fn check(name: &str, database: &Database, more: Value) -> Value {
    let mut spec = json!({
        "address": database.address(), "user": USER, "passwordEnv": "TEST_PASSWORD", "database": "shop", "query": QUERY,
    });
    for (field, value) in more.as_object().expect("fields") {
        if value.is_null() {
            spec.as_object_mut().expect("fields").remove(field);
        } else {
            spec[field] = value.clone();
        }
    }
    json!({"name": name, "timeout": "1s", "cache": "10ms", database.engine.kind(): spec})
}

/// The job with one check of the shop.
async fn shop(database: &Database) -> Health {
    Health::of(json!([check("shop", database, json!({}))])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_its_work_is_ok() {
    for engine in Engine::BOTH {
        let database = Database::start(engine).await;
        let health = shop(&database).await;
        let mut answer = health.ask().await;
        for time in ["durationMs", "ageMs"] {
            let value = answer.body["checks"]["shop"][time].take();
            let millis = value.as_f64().expect("a number");
            assert!((0.0..1500.0).contains(&millis), "{time}: {millis}");
        }
        let checks = json!({"shop": {"ok": true, "durationMs": null, "ageMs": null}});
        let body = json!({"status": "ok", "checks": checks});
        assert_eq!((answer.status, answer.body), (200, body));
        let ready = health.url.replace("healthz", "readyz");
        assert_eq!(get(&ready).await.0, 200, "the job itself");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stops_a_database_is_told_in_time_and_ends_by_itself() {
    for engine in Engine::BOTH {
        let mut database = Database::start(engine).await;
        let health = shop(&database).await;
        health.until_ok().await;

        let mut admin = database.admin("shop").await;
        admin.lock().await;
        health.until_fails(LATE).await;
        admin.unlock().await;
        health.until_ok().await;

        database.freeze().await;
        health.until_fails(LATE).await;
        database.thaw().await;
        health.until_ok().await;

        database.stop().await;
        health
            .until_fails("cannot connect: Connection refused (os error 111)")
            .await;
        database.restart(&[]).await;
        health.until_ok().await;
        let log = health.log();
        assert!(!log.contains(PASSWORD), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_missing_in_a_database_is_told_until_it_is_there() {
    for engine in Engine::BOTH {
        let database = Database::start(engine).await;
        let health = shop(&database).await;
        health.until_ok().await;
        let mut admin = database.admin("shop").await;

        admin.run("DELETE FROM orders").await;
        health
            .until_fails("the query gave 0 rows, expected at least 1")
            .await;
        admin.run("INSERT INTO orders VALUES (3)").await;
        health.until_ok().await;

        admin.run("ALTER TABLE orders RENAME TO others").await;
        let missing = engine.pick(
            "Table 'shop.orders' doesn't exist",
            r#"relation "orders" does not exist"#,
        );
        health.until_fails(missing).await;
        admin.run("ALTER TABLE others RENAME TO orders").await;
        health.until_ok().await;

        let user = database.user();
        admin
            .run(&format!("REVOKE SELECT ON orders FROM {user}"))
            .await;
        health
            .until_fails(engine.pick(
                "cannot connect: Access denied for user 'health'@'127.0.0.1' to database 'shop'",
                "permission denied for table orders",
            ))
            .await;
        admin
            .run(&format!("GRANT SELECT ON orders TO {user}"))
            .await;
        health.until_ok().await;

        drop(admin);
        let mut admin = database.admin("").await;
        let force = engine.pick("", "WITH (FORCE)");
        admin.run(&format!("DROP DATABASE shop {force}")).await;
        health
            .until_fails(engine.pick(
                "cannot connect: Unknown database 'shop'",
                r#"cannot connect: database "shop" does not exist"#,
            ))
            .await;
        admin.run("CREATE DATABASE shop").await;
        database.fill().await;
        health.until_ok().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_has_closed_is_no_fault_of_the_server() {
    for engine in Engine::BOTH {
        let mut database = Database::start(engine).await;
        let health = shop(&database).await;
        health.until_ok().await;
        let mut admin = database.admin("").await;
        for _ in 0..3 {
            admin.disconnect().await;
            let answer = health.ask().await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        database.restart(&[]).await;
        let answer = health.ask().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_judged_by_its_rows_and_by_its_first_value() {
    for engine in Engine::BOTH {
        let database = Database::start(engine).await;
        let most = "WITH RECURSIVE b AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM b WHERE i < 99) SELECT 1 FROM b x, b y";
        let syntax = engine.pick(
            "You have an error in your SQL syntax; check the manual that corresponds to your MariaDB server version for the \
             right syntax to use near 'SELEC 1' at line 1",
            r#"syntax error at or near "SELEC""#,
        );
        // The reason; none where all is well.
        let cases = [
            (json!({"expect": "2"}), ""),
            (json!({"expect": "3"}), "the query gave `2`, expected `3`"),
            (json!({"query": "SELECT 1.50, 'x'", "expect": "1.50"}), ""),
            (
                json!({"query": "SELECT CAST('2024-01-02' AS DATE)", "expect": "2024-01-02"}),
                "",
            ),
            (json!({"query": "SELECT 'ä'", "expect": "ä"}), ""),
            (json!({"query": "SELECT NULL", "expect": "NULL"}), ""),
            (
                json!({"query": "SELECT NULL", "expect": "x"}),
                "the query gave `NULL`, expected `x`",
            ),
            (json!({"query": "SELECT id FROM orders", "minRows": 2}), ""),
            (
                json!({"query": "SELECT id FROM orders", "minRows": 3}),
                "the query gave 2 rows, expected at least 3",
            ),
            (
                json!({"query": "SELECT 1 FROM orders WHERE id > 9", "minRows": 0}),
                "",
            ),
            (
                json!({"query": "SELECT 1 FROM orders WHERE id > 9", "minRows": 0, "expect": "1"}),
                "the query gave no row, expected `1`",
            ),
            (json!({"query": most, "minRows": 10_000}), ""),
            (
                json!({"query": format!("{most} UNION ALL SELECT 1")}),
                "the query gave more than 10000 rows: give it a LIMIT",
            ),
            (json!({"query": "SELEC 1"}), syntax),
            (json!({"query": null}), ""),
        ];
        let checks: Vec<_> = cases
            .iter()
            .enumerate()
            .map(|(index, (more, _))| {
                let mut spec = check(&index.to_string(), &database, more.clone());
                // So many logins at once take their time where nothing is optimized.
                spec["timeout"] = json!("20s");
                spec
            })
            .collect();
        let health = Health::of(json!(checks)).await;
        // The second time with connections that have been used.
        for _ in 0..2 {
            let answer = health.ask().await;
            let reasons = answer.reasons();
            for (index, (more, expected)) in cases.iter().enumerate() {
                let reason = reasons.get(index.to_string().as_str()).copied();
                assert_eq!(reason.unwrap_or_default(), *expected, "{engine:?} {more}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_probes_are_one_query_a_second() {
    for engine in Engine::BOTH {
        let database = Database::start(engine).await;
        let mut spec = check("shop", &database, json!({}));
        spec["cache"] = json!("1s");
        let health = Health::of(json!([spec])).await;
        let start = Instant::now();
        // A client each: one with a pool may open more connections than the port takes.
        let probes = (0..40).map(async |_| {
            let client = reqwest::Client::new();
            for _ in 0..50 {
                let answer = client.get(&health.url).send().await.expect("an answer");
                assert_eq!(answer.status(), 200);
                answer.bytes().await.expect("a body");
            }
        });
        join_all(probes).await;
        let took = start.elapsed();
        let queries = database.asked(QUERY);
        let most = usize::try_from(took.as_secs()).expect("few") + 1;
        assert!((1..=most).contains(&queries), "{queries} in {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_that_are_given_up_leave_one_query_behind() {
    // Both at once: it is mostly waiting.
    join_all(Engine::BOTH.map(leave)).await;
}

async fn leave(engine: Engine) {
    let database = Database::start(engine).await;
    let mut spec = check("shop", &database, json!({}));
    spec["cache"] = json!("1m");
    let health = Health::of(json!([spec])).await;
    let mut locker = database.admin("shop").await;
    let mut admin = database.admin("").await;
    locker.lock().await;
    let mut probes = Vec::new();
    for _ in 0..20 {
        let address = health.url.strip_prefix("http://").expect("a URL");
        let (address, path) = address.split_once('/').expect("a path");
        let mut probe = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET /{path} HTTP/1.1\r\nhost: probe\r\n\r\n");
        probe.write_all(request.as_bytes()).await.expect("sent");
        probes.push(probe);
    }
    until("the query to be there", async || {
        (admin.connections(true).await.len() == 1).then_some(())
    })
    .await;
    drop(probes);
    // It is ended by its own time, or by the server's, and no other follows.
    health.helper.logged("check failed").await;
    until("the query to end", async || {
        let busy = admin.connections(true).await.len();
        assert!(busy <= 1, "{busy}");
        (busy == 0).then_some(())
    })
    .await;
    assert_eq!(database.asked(QUERY), 1);
    assert_eq!(health.ask().await.reasons()["shop"], LATE);
    assert_eq!(database.asked(QUERY), 1);
    locker.unlock().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_are_given_up_do_not_pile_up_at_the_server() {
    // Both at once: it is mostly waiting.
    join_all(Engine::BOTH.map(give_up)).await;
}

async fn give_up(engine: Engine) {
    let database = Database::start(engine).await;
    let mut admin = database.admin("").await;
    // What such an account should have.
    let user = database.user();
    let two = engine.pick("WITH MAX_USER_CONNECTIONS 2", "CONNECTION LIMIT 2");
    admin.run(&format!("ALTER USER {user} {two}")).await;
    let health = shop(&database).await;
    health.until_ok().await;
    let mut locker = database.admin("shop").await;
    locker.lock().await;
    until("four late answers", async || {
        let answer = health.ask().await;
        assert!(answer.took < DEADLINE, "{answer:?}");
        let reasons = answer.reasons();
        assert!(
            reasons.values().all(|reason| *reason == LATE),
            "{reasons:?}"
        );
        let connections = admin.connections(false).await.len();
        assert!(connections <= 2, "{engine:?}: {connections}");
        (health.failures().await >= 4.0).then_some(())
    })
    .await;
    locker.unlock().await;
    health.until_ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_timeouts_keep_few_connections() {
    // Both at once: it is mostly waiting.
    join_all(Engine::BOTH.map(time_out)).await;
}

async fn time_out(engine: Engine) {
    let mut database = Database::start(engine).await;
    if engine == Engine::Postgres {
        // Without passwords: where nothing is optimized, proving one takes longer than the whole check.
        let rules = "local all all trust\nhost all all 127.0.0.1/32 trust\n";
        let rules = format!("hba_file={}", database.place("pg_hba.conf", rules).await);
        database.restart(&["-c", &rules]).await;
    }
    let mut admin = database.admin("").await;
    let mut spec = check("shop", &database, json!({}));
    spec["timeout"] = json!("50ms");
    let health = Health::of(json!([spec])).await;
    health.until_ok().await;
    let mut locker = database.admin("shop").await;
    locker.lock().await;
    let mut most = 0;
    until("a hundred late answers", async || {
        health.ask().await;
        most = most.max(admin.connections(false).await.len());
        (health.failures().await >= 100.0).then_some(())
    })
    .await;
    // Each lives for the check's own time and a tenth of a second more.
    assert!(most <= 4, "{engine:?}: {most}");
    locker.unlock().await;
    health.until_ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_from_the_environment_and_from_files_that_may_change() {
    for engine in Engine::BOTH {
        let database = Database::start(engine).await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("password");
        // As editors and `kubectl create secret` write it.
        std::fs::write(&file, format!("{PASSWORD}\n")).expect("a file");
        let by_file = json!({"passwordEnv": null, "passwordFile": file});
        let wrong = json!({"passwordEnv": "TEST_WRONG_PASSWORD"});
        let none = json!({"passwordEnv": null});
        let health = Health::of(json!([
            check("env", &database, json!({})),
            check("file", &database, by_file),
            check("wrong", &database, wrong),
            check("none", &database, none),
        ]))
        .await;
        let answer = health.ask().await;
        let refused = engine.pick(
            "cannot connect: Access denied for user 'health'@'127.0.0.1' (using password: YES)",
            r#"cannot connect: password authentication failed for user "health""#,
        );
        let reasons = answer.reasons();
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert_eq!(reasons["wrong"], refused);
        let without = engine.pick(
            "cannot connect: Access denied for user 'health'@'127.0.0.1' (using password: NO)",
            r#"cannot connect: password authentication failed for user "health""#,
        );
        assert_eq!(reasons["none"], without);

        // Rotated: whoever is connected stays so, and new connections take the new one.
        let mut admin = database.admin("").await;
        let identified = engine.pick("IDENTIFIED BY", "PASSWORD");
        let user = database.user();
        admin
            .run(&format!("ALTER USER {user} {identified} 'a new one'"))
            .await;
        admin.disconnect().await;
        let all_refused = until("the old one to be refused", async || {
            let answer = health.ask().await;
            let reasons = answer.reasons();
            (reasons.get("file") == Some(&refused) && reasons.get("env") == Some(&refused))
                .then_some(())
        });
        all_refused.await;
        std::fs::write(&file, "a new one").expect("a file");
        until("the new one to be taken", async || {
            let answer = health.ask().await;
            (answer.body["checks"]["file"]["ok"] == true).then_some(())
        })
        .await;
        std::fs::remove_file(&file).expect("it was there");
        admin.disconnect().await;
        let gone = format!(
            "cannot read `{}`: No such file or directory (os error 2)",
            file.display()
        );
        until("the file to be missed", async || {
            let answer = health.ask().await;
            (answer.reasons().get("file").copied() == Some(gone.as_str())).then_some(())
        })
        .await;

        let said = health.log() + &health.ask().await.body.to_string();
        for secret in [PASSWORD, "a new one"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

/// Has the server speak TLS, with a certificate for its address, and to nobody otherwise.
async fn demand_tls(database: &mut Database, authority: &Authority) {
    let (certificate, key) = authority.issue("127.0.0.1");
    let certificate = database.place("server.crt", &certificate).await;
    let key = database.place("server.key", &key).await;
    let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    let rules = database.place("pg_hba.conf", rules).await;
    let options = database.engine.pick(
        [
            format!("--ssl-cert={certificate}"),
            format!("--ssl-key={key}"),
            "--require-secure-transport=ON".to_owned(),
        ],
        [
            format!("-cssl_cert_file={certificate}"),
            format!("-cssl_key_file={key}"),
            format!("-chba_file={rules}"),
        ],
    );
    let mut options = options.each_ref().map(String::as_str).to_vec();
    if database.engine == Engine::Postgres {
        options.push("-cssl=on");
    }
    database.restart(&options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_as_strict_as_it_is_asked_to_be() {
    for engine in Engine::BOTH {
        let mut database = Database::start(engine).await;
        let ours = Authority::new("ours");
        let theirs = Authority::new("theirs");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let our_file = place("ours.pem", ours.pem());
        let their_file = place("theirs.pem", theirs.pem());
        // Whether the connection is an encrypted one, by the server's word.
        let query = engine.pick(
            "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'ssl_cipher'",
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        );
        let (yes, no) = (engine.pick("1", "t"), engine.pick("0", "f"));
        let with = |name: &str, database: &Database, expect: &str, more: Value| {
            let mut all = json!({"query": query, "expect": expect});
            for (field, value) in more.as_object().expect("fields") {
                all[field] = value.clone();
            }
            check(name, database, all)
        };

        // A server without.
        let health = Health::of(json!([
            with("default", &database, no, json!({})),
            with("disable", &database, no, json!({"tls": "disable"})),
            with("prefer", &database, no, json!({"tls": "prefer"})),
            with("require", &database, yes, json!({"tls": "require"})),
            with(
                "verify",
                &database,
                yes,
                json!({"tls": "verify", "caFile": our_file})
            ),
        ]))
        .await;
        let answer = health.ask().await;
        let none = "cannot connect: server does not support TLS";
        let expected = [("require", none), ("verify", none)];
        assert_eq!(answer.reasons(), BTreeMap::from(expected), "{engine:?}");

        demand_tls(&mut database, &ours).await;

        // One that demands it.
        let health = Health::of(json!([
            with("default", &database, yes, json!({})),
            with("disable", &database, no, json!({"tls": "disable"})),
            with("prefer", &database, yes, json!({"tls": "prefer"})),
            with("require", &database, yes, json!({"tls": "require"})),
            with("verify", &database, yes, json!({"tls": "verify", "caFile": our_file})),
            with("verify, another authority", &database, yes, json!({"tls": "verify", "caFile": their_file})),
            with("verify, public authorities", &database, yes, json!({"tls": "verify"})),
            with("verify, another name", &database, yes, json!({
                "tls": "verify", "caFile": our_file, "address": format!("localhost:{}", database.port),
            })),
        ]))
        .await;
        let answer = health.ask().await;
        let unknown = "cannot connect: invalid peer certificate: UnknownIssuer";
        let expected = [
            (
                "disable",
                // MariaDB says no more than this.
                engine.pick(
                    "cannot connect: Access denied for user 'health'@'127.0.0.1' (using password: YES)",
                    r#"cannot connect: no pg_hba.conf entry for host "127.0.0.1", user "health", database "shop", no encryption"#,
                ),
            ),
            ("verify, another authority", unknown),
            ("verify, public authorities", unknown),
            (
                "verify, another name",
                "cannot connect: invalid peer certificate: certificate not valid for name \"localhost\"; certificate is only valid for \
                 IpAddress(127.0.0.1)",
            ),
        ];
        assert_eq!(answer.reasons(), BTreeMap::from(expected), "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_knows_other_ways_to_log_in() {
    let database = Database::start(Engine::MariaDb).await;
    let mut admin = database.admin("").await;
    admin.run("INSTALL SONAME 'auth_ed25519'").await;
    for (name, how) in [
        ("native", "mysql_native_password USING PASSWORD('pw')"),
        ("ed", "ed25519 USING PASSWORD('pw')"),
    ] {
        admin
            .run(&format!(
                "CREATE USER '{name}'@'127.0.0.1' IDENTIFIED VIA {how}"
            ))
            .await;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "pw").expect("a file");
    let user = |name: &str| {
        let more = json!({"user": name, "passwordEnv": null, "passwordFile": file, "database": null, "query": null});
        check(name, &database, more)
    };
    let health = Health::of(json!([user("native"), user("ed")])).await;
    let answer = health.ask().await;
    // The client library does not know it.
    let unknown = "cannot connect: encountered unexpected or invalid data: unknown authentication plugin: client_ed25519";
    let reasons = answer.reasons();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons["ed"].starts_with(unknown), "{reasons:?}");
}
