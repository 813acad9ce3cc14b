//! Redis: alone, as primary, as replica.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Health;
use crate::support::databases::PASSWORD;
use crate::support::{Redis, until};

/// A check whose answers are kept for so short that none is old.
fn check(name: &str, redis: &Redis, more: Value) -> Value {
    let mut spec = json!({"url": redis.url()});
    for (field, value) in more.as_object().expect("fields") {
        spec[field] = value.clone();
    }
    json!({"name": name, "timeout": "1s", "cache": "10ms", "redis": spec})
}

async fn run(redis: &Redis, words: &[&str]) {
    let (command, arguments) = words.split_first().expect("a command");
    let mut connection = redis.client().await;
    redis::cmd(command)
        .arg(arguments)
        .query_async::<()>(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stops_it_is_told_in_time_and_ends_by_itself() {
    let mut redis = Redis::start(&[]).await;
    let health = Health::of(json!([check("cache", &redis, json!({}))])).await;
    health.until_ok().await;

    redis.process().signal("STOP").await;
    health.until_fails("no answer within 1s").await;
    redis.process().signal("CONT").await;
    health.until_ok().await;

    redis.stop().await;
    health
        .until_fails("Connection refused (os error 111)")
        .await;
    redis.restart().await;
    health.until_ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_has_closed_is_no_fault_of_the_server() {
    let mut redis = Redis::start(&[]).await;
    let health = Health::of(json!([check("cache", &redis, json!({}))])).await;
    health.until_ok().await;
    for _ in 0..3 {
        run(
            &redis,
            &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
        )
        .await;
        let answer = health.ask().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    redis.restart().await;
    let answer = health.ask().await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_from_the_environment_and_from_files_that_may_change() {
    let redis = Redis::start(&["--requirepass", PASSWORD]).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("a file");
    let health = Health::of(json!([
        check("env", &redis, json!({"passwordEnv": "TEST_PASSWORD"})),
        check("file", &redis, json!({"passwordFile": file})),
        check(
            "wrong",
            &redis,
            json!({"passwordEnv": "TEST_WRONG_PASSWORD"})
        ),
        check("none", &redis, json!({})),
        check(
            "user",
            &redis,
            json!({"user": "nobody", "passwordEnv": "TEST_PASSWORD"})
        ),
    ]))
    .await;
    let answer = health.ask().await;
    let refused = "Password authentication failed - AuthenticationFailed";
    let reasons = [
        ("none", r#""NOAUTH": Authentication required."#),
        ("user", refused),
        ("wrong", refused),
    ];
    assert_eq!(answer.reasons(), BTreeMap::from(reasons));

    let client = redis::Client::open(redis.url()).expect("a URL");
    let info = client.get_connection_info();
    let settings = info.redis_settings().clone().set_password(PASSWORD);
    let client = redis::Client::open(info.clone().set_redis_settings(settings)).expect("a client");
    let mut admin = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    for words in [
        vec!["CONFIG", "SET", "requirepass", "a new one"],
        vec!["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
    ] {
        redis::cmd(words[0])
            .arg(&words[1..])
            .query_async::<()>(&mut admin)
            .await
            .expect("done");
    }
    until("the old one to be refused", async || {
        let answer = health.ask().await;
        answer.reasons().contains_key("file").then_some(())
    })
    .await;
    std::fs::write(&file, "a new one").expect("a file");
    until("the new one to be taken", async || {
        let answer = health.ask().await;
        (answer.body["checks"]["file"]["ok"] == true).then_some(())
    })
    .await;
    let said = health.log() + &health.ask().await.body.to_string();
    for secret in [PASSWORD, "a new one"] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_the_right_to_ping_and_to_ask_for_info() {
    let redis = Redis::start(&[]).await;
    let password = &format!(">{PASSWORD}");
    for (name, rights) in [("enough", vec!["+ping", "+info"]), ("less", vec!["+ping"])] {
        let mut words = vec!["ACL", "SETUSER", name, "on", password];
        words.extend(rights);
        run(&redis, &words).await;
    }
    let user = |name: &str, more: Value| {
        let mut spec = check(name, &redis, more);
        spec["redis"]["passwordEnv"] = json!("TEST_PASSWORD");
        spec
    };
    let health = Health::of(json!([
        user("both", json!({"user": "enough", "role": "primary"})),
        user("ping", json!({"user": "less"})),
        user("no info", json!({"user": "less", "role": "primary"})),
    ]))
    .await;
    let answer = health.ask().await;
    let reason = "NoPerm: this user has no permissions to run the 'info' command";
    assert_eq!(answer.reasons(), BTreeMap::from([("no info", reason)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_says_how_long_ago_it_heard_of_its_primary() {
    let often = ["--repl-ping-replica-period", "1"];
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let mut primary = Redis::start(&[often, at_once].concat()).await;
    let port = primary.port.to_string();
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]).await;
    let lag = json!({"role": "replica", "maxLag": "2s"});
    let health = Health::of(json!([check("replica", &replica, lag)])).await;
    health.until_ok().await;

    let roles = Health::of(json!([
        check(
            "primary",
            &primary,
            json!({"role": "primary", "maxLag": "1s"})
        ),
        check("not a primary", &replica, json!({"role": "primary"})),
        check("not a replica", &primary, json!({"role": "replica"})),
    ]))
    .await;
    let answer = roles.ask().await;
    let reasons = answer.reasons();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!(
        reasons["not a primary"],
        "it is a replica, expected a primary"
    );
    assert_eq!(
        reasons["not a replica"],
        "it is a primary, expected a replica"
    );

    primary.process().signal("STOP").await;
    health
        .until_fails("the primary was last heard of 3 s ago, expected at most 2s")
        .await;
    primary.process().signal("CONT").await;
    health.until_ok().await;

    primary.stop().await;
    health.until_fails("the link to the primary is down").await;
    primary.restart().await;
    health.until_ok().await;
}
