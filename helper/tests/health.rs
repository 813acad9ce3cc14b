//! Health checks against what they check: databases that are locked, frozen, killed and wrong, and whatever else answers or does
//! not.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::databases::PASSWORD;
use crate::support::{Helper, get, until};

mod others;
mod redis;
mod sql;

/// What an answer may take while checks of one second fail, on a machine under load.
const DEADLINE: Duration = Duration::from_millis(1500);

/// The job, with its checks.
struct Health {
    helper: Helper,
    url: String,
    /// Its first check.
    name: String,
    _directory: TempDir,
}

impl Health {
    async fn of(checks: Value) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = directory.path().join("checks.json");
        std::fs::write(&config, json!({"checks": checks}).to_string()).expect("a file");
        let config = config.display().to_string();
        let environment = [("TEST_PASSWORD", PASSWORD), ("TEST_WRONG_PASSWORD", "no")];
        let helper = Helper::start_with(&["health", "--config", &config], &environment);
        let url = format!("{}/healthz", helper.health().await);
        Self {
            helper,
            url,
            name: checks[0]["name"].as_str().expect("a name").to_owned(),
            _directory: directory,
        }
    }

    async fn ask(&self) -> Answer {
        let start = Instant::now();
        let (status, body) = get(&self.url).await;
        Answer {
            status,
            body: serde_json::from_str(&body).expect("JSON"),
            took: start.elapsed(),
        }
    }

    /// Asks until all is well, and in time each time.
    async fn until_ok(&self) {
        until("all to be well", async || {
            let answer = self.ask().await;
            assert!(answer.took < DEADLINE, "{answer:?}");
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Asks until one check fails for this reason, and in time each time.
    async fn until_fails(&self, reason: &str) {
        until(&format!("`{reason}`"), async || {
            let answer = self.ask().await;
            assert!(answer.took < DEADLINE, "{answer:?}");
            (answer.status == 503 && answer.reasons().into_values().any(|said| said == reason))
                .then_some(())
        })
        .await;
    }

    /// How often its one check has failed.
    async fn failures(&self) -> f64 {
        let name = self.name.as_str();
        let name = format!(r#"health_check_failures_total{{check="{name}"}} "#);
        let metrics = get(&self.url.replace("healthz", "metrics")).await.1;
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// All that it has logged, as one text.
    fn log(&self) -> String {
        self.helper.process.log().join("\n")
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
    took: Duration,
}

impl Answer {
    /// What is wrong, by check.
    fn reasons(&self) -> BTreeMap<&str, &str> {
        let checks = self.body["checks"].as_object().expect("checks");
        checks
            .iter()
            .filter_map(|(name, check)| Some((name.as_str(), check["reason"].as_str()?)))
            .collect()
    }
}

/// A listener that accepts and never says a word, as `host:port`.
fn mute() -> (String, std::net::TcpListener) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    (address, listener)
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_run_at_once_and_each_is_told() {
    let (address, _listener) = mute();
    let hang = |name| {
        let url = format!("http://{address}/");
        json!({"name": name, "timeout": "1s", "http": {"url": url}})
    };
    let health = Health::of(json!([
        hang("one"),
        {"name": "port", "tcp": {"address": address}},
        hang("two"),
        hang("three"),
    ]))
    .await;
    let answer = health.ask().await;
    assert_eq!(answer.status, 503);
    assert!(answer.took < DEADLINE, "{answer:?}");
    assert_eq!(answer.body["status"], "fail");
    assert_eq!(answer.body["checks"]["port"]["ok"], true);
    let late = "no answer within 1s";
    let reasons = [("one", late), ("three", late), ("two", late)];
    assert_eq!(answer.reasons(), BTreeMap::from(reasons));
    // In the order of the file.
    let names: Vec<_> = answer.body["checks"]
        .as_object()
        .expect("checks")
        .keys()
        .collect();
    assert_eq!(names, ["one", "port", "two", "three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_answer_takes_that_one_even_where_none_is_kept() {
    let (address, listener) = mute();
    let check = json!({"url": format!("http://{address}/")});
    let health =
        Health::of(json!([{"name": "web", "timeout": "1s", "cache": "1us", "http": check}])).await;
    let start = Instant::now();
    let answers = join_all((0..10).map(|_| health.ask())).await;
    assert!(answers.iter().all(|answer| answer.status == 503));
    // Those that came a little later wait for the second answer.
    assert!(
        start.elapsed() < Duration::from_millis(2500),
        "{:?}",
        start.elapsed()
    );
    let runs = health
        .helper
        .metric(r#"health_check_runs_total{check="web"}"#)
        .await;
    assert!(runs <= 2.0, "{runs}");
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_how_checks_went() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let check = json!({"name": "port", "cache": "1ms", "tcp": {"address": address}});
    let health = Health::of(json!([check])).await;
    let metric = async |name: &str| {
        let name = format!(r#"health_check_{name}{{check="port"}}"#);
        health.helper.metric(&name).await
    };
    health.until_ok().await;
    assert!((metric("up").await - 1.0).abs() < f64::EPSILON);
    drop(listener);
    health
        .until_fails("Connection refused (os error 111)")
        .await;
    assert!(metric("up").await.abs() < f64::EPSILON);
    assert!(metric("failures_total").await >= 1.0);
    assert!(metric("runs_total").await > metric("failures_total").await);
    let line = health.helper.logged("check failed").await;
    assert_eq!(line["check"], "port");
    assert_eq!(line["reason"], "Connection refused (os error 111)");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_within_a_second_while_a_check_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let check = json!({"name": "web", "timeout": "1m", "http": {"url": url}});
    let mut health = Health::of(json!([check])).await;
    let asking = tokio::spawn(reqwest::get(health.url.clone()));
    let _mute = listener.accept().await.expect("the check");
    let start = Instant::now();
    health.helper.process.signal("TERM").await;
    let status = health.helper.process.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    assert!(asking.await.expect("no panic").is_err(), "nobody answered");
}

/// What the job says of a file that it refuses, after `error: ` and the file's path.
async fn refused(text: &str) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("checks.json");
    std::fs::write(&path, text).expect("a file");
    let path = path.display().to_string();
    let mut helper = Helper::start(&["health", "--config", &path]);
    let status = helper.process.ended().await;
    assert_eq!(status.code(), Some(1), "{text}");
    let prefix = format!("error: `{path}`: ");
    until("its last word", async || {
        let log = helper.process.log();
        Some(log.last()?.strip_prefix(&prefix)?.to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_makes_no_sense_is_told_in_a_sentence() {
    let one = |spec: &str| format!(r#"{{"checks": [{{"name": "db", {spec}}}]}}"#);
    let mysql = |spec: &str| {
        one(&format!(
            r#""mysql": {{"user": "u", "address": "a:1", {spec}}}"#
        ))
    };
    let kinds = "check `db`: expected exactly one of mysql, postgres, redis, http, tcp, grpc, file";
    let file = r#""file": {"path": "/"}"#;
    let url = "check `db`: the Redis URL is none: expected redis://host:port or rediss://host:port";
    let cases = [
        ("checks: []", "expected value at line 1 column 1"),
        ("{}", "missing field `checks` at line 1 column 2"),
        (
            r#"{"checks": []}"#,
            "`checks` is empty: expected at least one",
        ),
        (
            &format!(r#"{{"checks": [{{"name": "a", {file}}}, {{"name": "a", {file}}}]}}"#),
            "two checks are called `a`",
        ),
        (&one(r#""timeout": "1s""#), kinds),
        (
            &one(&format!(r#""tcp": {{"address": "a:1"}}, {file}"#)),
            kinds,
        ),
        (
            &one(r#""kafka": {}"#),
            "unknown field `kafka`, expected one of `name`, `timeout`, `cache`, `mysql`, `postgres`, `redis`, `http`, `tcp`, \
             `grpc`, `file` at line 1 column 34",
        ),
        (
            &one(r#""tcp": {"adress": "a:1"}"#),
            "unknown field `adress`, expected `address` at line 1 column 43",
        ),
        (
            &mysql(r#""pasword": "x""#),
            "unknown field `pasword` at line 1 column 83",
        ),
        (
            &one(&format!(r#""timeout": "2", {file}"#)),
            "expected a duration above zero such as 500ms, 2s or 1h30m, not `2` at line 1 column 41",
        ),
        (
            &one(&format!(r#""cache": "0s", {file}"#)),
            "expected a duration above zero such as 500ms, 2s or 1h30m, not `0s` at line 1 column 40",
        ),
        (
            &mysql(r#""passwordEnv": "NOT_THERE""#),
            "check `db`: no password in the environment variable `NOT_THERE`",
        ),
        (
            &mysql(r#""passwordFile": "/not/there""#),
            "check `db`: cannot read `/not/there`: No such file or directory (os error 2)",
        ),
        (
            &mysql(r#""passwordFile": "/not/there", "passwordEnv": "HOME""#),
            "check `db`: expected `passwordFile` or `passwordEnv`, not both",
        ),
        (
            &mysql(r#""tls": "maybe""#),
            "unknown variant `maybe`, expected one of `disable`, `prefer`, `require`, `verify` at line 1 column 82",
        ),
        (
            &mysql(r#""tls": "verify", "caFile": "/not/there""#),
            "check `db`: cannot read `/not/there`: No such file or directory (os error 2)",
        ),
        (
            &mysql(r#""tls": "require", "caFile": "/not/there""#),
            "check `db`: `caFile` needs `tls` to be `verify`: nothing else verifies",
        ),
        (&one(r#""redis": {"url": "localhost:6379"}"#), url),
        (
            &one(r#""redis": {"url": "redis://u:secret@"}"#),
            &format!("{url}: Redis URL did not parse - InvalidClientConfig"),
        ),
        (
            &one(r#""http": {"url": "localhost/x"}"#),
            "check `db`: `url` is `localhost/x`: invalid format",
        ),
        (
            &one(r#""http": {"url": "ftp://a/x"}"#),
            "check `db`: `url` is `ftp://a/x`: expected http://host:port/path or https://",
        ),
        (
            &one(r#""http": {"url": "https://a/x", "caFile": "/not/there"}"#),
            "check `db`: cannot read `/not/there`: I/O error: No such file or directory (os error 2)",
        ),
        (
            &one(r#""grpc": {"address": "a b:1"}"#),
            "check `db`: `address` is `a b:1`: expected host:port: invalid URI: invalid uri character",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(text).await, expected, "{text}");
    }
    for address in ["localhost", ":3306", "localhost:99999", "localhost:mysql"] {
        let text = one(&format!(r#""tcp": {{"address": "{address}"}}"#));
        let expected = format!("check `db`: `address` is `{address}`: expected host:port");
        assert_eq!(refused(&text).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_is_told() {
    let mut helper = Helper::start(&["health", "--config", "/not/there.json"]);
    assert_eq!(helper.process.ended().await.code(), Some(1));
    let expected = "error: `/not/there.json`: No such file or directory (os error 2)";
    until("its last word", async || {
        (helper.process.log() == [expected]).then_some(())
    })
    .await;
}
