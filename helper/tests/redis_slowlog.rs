//! The slow log of real servers: Redis, and Valkey with its command log.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::{Duration, Instant, timeout};

use crate::support::{Helper, Process, Redis, get, until};

/// Every command is a slow one, and the log keeps many.
const ALL: [&str; 4] = [
    "--slowlog-log-slower-than",
    "0",
    "--slowlog-max-len",
    "20000",
];

/// The job, and what it has printed.
struct Follower {
    helper: Helper,
}

impl Follower {
    /// It looks ten times a second.
    fn start(redis: &Redis, arguments: &[&str]) -> Self {
        Self::start_with(redis, arguments, &[])
    }

    fn start_with(redis: &Redis, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let url = redis.url();
        let mut all = vec!["redis-slowlog", "--redis-url", &url];
        if !arguments.contains(&"--interval") {
            all.extend(["--interval", "100ms"]);
        }
        all.extend(arguments);
        Self {
            helper: Helper::start_with(&all, environment),
        }
    }

    async fn ready(&self) -> (u16, String) {
        get(&format!("{}/readyz", self.helper.health().await)).await
    }

    /// Waits until it has read the log, so that what is slow from now on is printed.
    async fn until_ready(&self) {
        until("it to be ready", async || {
            (self.ready().await.0 == 200).then_some(())
        })
        .await;
    }

    async fn until_unready(&self, reason: &str) {
        until(&format!("`{reason}`"), async || {
            let (status, said) = self.ready().await;
            (status == 503 && said.starts_with(reason)).then_some(())
        })
        .await;
    }

    fn lines(&self) -> Vec<Value> {
        let out = self.helper.process.out();
        let parsed = out.iter().map(|line| serde_json::from_str(line));
        parsed.collect::<Result<_, _>>().expect("JSON lines")
    }

    /// Keys of the entries, as often as they are printed.
    fn keys(&self) -> BTreeMap<String, u32> {
        let mut keys = BTreeMap::new();
        for line in self.lines() {
            if let Some(key) = line["key"].as_str() {
                *keys.entry(key.to_owned()).or_default() += 1;
            }
        }
        keys
    }

    async fn until_printed(&self, key: &str) {
        // Not parsed each time: there may be ten thousand.
        let field = format!(r#""key":"{key}""#);
        until(&format!("`{key}` to be printed"), async || {
            let out = self.helper.process.out();
            out.iter().any(|line| line.contains(&field)).then_some(())
        })
        .await;
    }

    /// Entries printed and entries lost, after it has seen that nothing else is missing and that nothing comes twice. The ids
    /// begin again where the server did.
    fn account(&self) -> (u32, u32) {
        let (mut printed, mut lost, mut gap) = (0, 0, 0);
        let mut before: Option<i64> = None;
        for line in self.lines() {
            if let Some(more) = line["lost"].as_i64() {
                assert!(more > 0, "{line}");
                gap = more;
                lost += u32::try_from(more).expect("not so many");
            } else if let Some(id) = line["id"].as_i64() {
                if let Some(before) = before {
                    assert_eq!(id, before + gap + 1, "{line}");
                }
                (before, gap) = (Some(id), 0);
                printed += 1;
            } else {
                assert_eq!(line["msg"], "redis restarted");
                before = Some(-1);
            }
        }
        (printed, lost)
    }

    fn metric(&self, name: &str) -> impl Future<Output = f64> {
        let name = format!("redis_slowlog_{name}");
        async move { self.helper.metric(&name).await }
    }
}

/// Sends commands over one connection, many at once.
async fn send(redis: &Redis, commands: impl IntoIterator<Item = Vec<String>>) {
    let mut connection = redis.client().await;
    let mut pipeline = redis::pipe();
    for words in commands {
        pipeline.add_command(command(&words)).ignore();
    }
    pipeline
        .query_async::<()>(&mut connection)
        .await
        .expect("they are answered");
}

fn command(words: &[impl AsRef<[u8]>]) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word.as_ref());
    }
    command
}

async fn run(redis: &Redis, words: &str) {
    send(redis, [words.split(' ').map(str::to_owned).collect()]).await;
}

fn set(key: String) -> Vec<String> {
    vec!["SET".to_owned(), key, "value".to_owned()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_command_is_a_line() {
    let redis = Redis::start(&["--slowlog-log-slower-than", "5000"]).await;
    let follower = Follower::start(&redis, &[]);
    follower.until_ready().await;
    let mut connection = redis.client().await;
    for words in [
        vec!["CLIENT", "SETNAME", "shop"],
        vec![
            "EVAL",
            "for n = 1, 3000000 do end",
            "1",
            "user:42",
            "secret",
        ],
    ] {
        command(&words)
            .query_async::<()>(&mut connection)
            .await
            .expect("done");
    }
    follower.until_printed("user:42").await;
    let mut lines = follower.lines();
    assert_eq!(lines.len(), 1);
    let line = &mut lines[0];
    let slow = line["duration_us"].take().as_u64().expect("a number");
    assert!((5_000..5_000_000).contains(&slow), "{slow}");
    let client = line["client"].take();
    assert!(
        client.as_str().expect("text").starts_with("127.0.0.1:"),
        "{client}"
    );
    let time = line["time"].take();
    let time = time.as_str().expect("a time");
    assert_eq!(
        (time.len(), time.get(10..11), time.get(19..)),
        (20, Some("T"), Some("Z")),
        "{time}"
    );
    assert_eq!(
        *line,
        json!({
            "time": null, "level": "warn", "msg": "redis slow command", "id": 0, "duration_us": null, "command": "EVAL", "argc": 5,
            "key": "user:42", "client": null, "client_name": "shop",
        })
    );
    assert!((follower.metric("entries_total").await - 1.0).abs() < f64::EPSILON);
    assert!((follower.metric("up").await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_slow_commands_are_printed_once_each() {
    let redis = Redis::start(&ALL).await;
    let follower = Follower::start(&redis, &[]);
    follower.until_ready().await;
    // In four parts, so that looks fall between them and into them.
    for part in 0..4 {
        let keys = part * 2_500..(part + 1) * 2_500;
        send(&redis, keys.map(|key| set(format!("key:{key}")))).await;
    }
    follower.until_printed("key:9999").await;
    let expected = (0..10_000).map(|key| (format!("key:{key}"), 1));
    assert_eq!(follower.keys(), expected.collect());
    // Its own questions are commands, too, and are accounted for: no id is missing.
    assert_eq!(follower.account().1, 0);
    assert!(follower.metric("lost_total").await.abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_drops_is_counted() {
    let redis = Redis::start(&ALL).await;
    run(&redis, "CONFIG SET slowlog-max-len 20").await;
    let follower = Follower::start(&redis, &[]);
    follower.until_ready().await;
    let burst = async |name: &str| {
        send(&redis, (0..1000).map(|key| set(format!("{name}:{key}")))).await;
        follower.until_printed(&format!("{name}:999")).await;
    };
    burst("small ring").await;
    let (_, lost) = follower.account();
    assert!(lost >= 900, "{lost}");

    // A change of the ring's length, while others reset it.
    run(&redis, "CONFIG SET slowlog-max-len 5000").await;
    burst("large ring").await;
    assert_eq!(follower.account().1, lost, "nothing more");
    run(&redis, "CONFIG SET slowlog-max-len 2").await;
    burst("tiny ring").await;
    run(&redis, "CONFIG SET slowlog-max-len 5000").await;
    send(
        &redis,
        (0..100)
            .map(|key| set(format!("reset:{key}")))
            .chain([words("SLOWLOG RESET")]),
    )
    .await;
    burst("after a reset").await;

    // Off, and on again.
    run(&redis, "CONFIG SET slowlog-log-slower-than -1").await;
    run(&redis, "SET unseen 1").await;
    run(&redis, "CONFIG SET slowlog-log-slower-than 0").await;
    burst("on again").await;
    assert!(!follower.keys().contains_key("unseen"));

    let twice: Vec<_> = follower
        .keys()
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .collect();
    assert_eq!(twice, []);
    let (printed, lost) = follower.account();
    // Its own questions go on, and are printed.
    assert!(follower.metric("entries_total").await >= f64::from(printed));
    assert!((follower.metric("lost_total").await - f64::from(lost)).abs() < f64::EPSILON);
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_begins_now_or_with_the_oldest() {
    let redis = Redis::start(&ALL).await;
    send(&redis, (0..500).map(|key| set(format!("before:{key}")))).await;
    let now = Follower::start(&redis, &[]);
    let oldest = Follower::start(&redis, &["--from", "oldest"]);
    now.until_ready().await;
    run(&redis, "SET after 1").await;
    now.until_printed("after").await;
    oldest.until_printed("after").await;
    assert!(now.keys().keys().all(|key| !key.starts_with("before")));
    let keys = oldest.keys();
    assert!((0..500).all(|key| keys.get(&format!("before:{key}")) == Some(&1)));
    assert_eq!((now.account().1, oldest.account().1), (0, 0));
    assert_eq!(oldest.lines()[0]["id"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_is_told_once_and_its_ids_begin_again() {
    let mut redis = Redis::start(&ALL).await;
    let follower = Follower::start(&redis, &[]);
    follower.until_ready().await;
    for round in 0..3 {
        // The second time with more commands than before, so that the ids alone give nothing away.
        let keys = (0..10 * 20_u32.pow(round)).map(|key| format!("{round}:{key}"));
        send(&redis, keys.clone().map(set)).await;
        until("all to be printed", async || {
            let printed = follower.keys();
            keys.clone()
                .all(|key| printed.get(&key) == Some(&1))
                .then_some(())
        })
        .await;
        if round < 2 {
            redis.restart().await;
        }
    }
    assert_eq!(follower.account().1, 0);
    let told: Vec<_> = follower
        .lines()
        .into_iter()
        .filter(|line| line["msg"] == "redis restarted")
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0]["level"], "info");
    assert_ne!(told[0]["run_id"], told[1]["run_id"]);
    assert!((follower.metric("restarts_total").await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_few_rights() {
    let rights = |name: &'static str, rights: &[&'static str]| {
        [&["--user", name, "on", ">secret"], rights].concat()
    };
    let options = [
        &ALL[..],
        &rights("enough", &["+slowlog|get", "+info"]),
        &rights("less", &["+slowlog|get"]),
        &rights("nothing", &[]),
    ]
    .concat();
    let mut redis = Redis::start(&options).await;
    let follow = |user: &str| {
        Follower::start_with(
            &redis,
            &["--redis-user", user],
            &[("OUTRIGGER_REDIS_PASSWORD", "secret")],
        )
    };
    let (enough, less, nothing) = (follow("enough"), follow("less"), follow("nothing"));
    enough.until_ready().await;
    less.until_ready().await;
    run(&redis, "SET first 1").await;
    for follower in [&enough, &less] {
        follower.until_printed("first").await;
    }
    // With enough before, that the new ids are lower: all that one has who may not ask for the run_id.
    send(&redis, (0..1000).map(|key| set(format!("more:{key}")))).await;
    for follower in [&enough, &less] {
        follower.until_printed("more:999").await;
    }
    redis.restart().await;
    run(&redis, "SET second 1").await;
    for follower in [&enough, &less] {
        follower.until_printed("second").await;
        let twice = follower.keys().into_values().filter(|times| *times > 1);
        assert_eq!(twice.count(), 0);
    }
    nothing.until_unready("Redis has not answered").await;
    let line = nothing.helper.logged("no slow log from Redis").await;
    let reason = "NoPerm: this user has no permissions to run the 'slowlog|get' command";
    assert_eq!(line["error"], reason);
    for follower in [enough, less, nothing] {
        assert!(!follower.helper.process.log().join("\n").contains("secret"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_until_it_is_right() {
    let redis = Redis::start(&ALL).await;
    run(&redis, "ACL SETUSER follower on >right +slowlog|get +info").await;
    let password = [("OUTRIGGER_REDIS_PASSWORD", "wrong")];
    let follower = Follower::start_with(&redis, &["--redis-user", "follower"], &password);
    follower.until_unready("Redis has not answered yet").await;
    follower
        .until_unready("Redis has not answered 3 times in a row")
        .await;
    let line = follower.helper.logged("no slow log from Redis").await;
    assert_eq!(
        line["error"],
        "Password authentication failed - AuthenticationFailed"
    );
    assert!(follower.metric("up").await.abs() < f64::EPSILON);
    run(&redis, "ACL SETUSER follower resetpass >wrong").await;
    follower.until_ready().await;
    run(&redis, "SET key 1").await;
    follower.until_printed("key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_file_is_read_anew() {
    let redis = Redis::start(&ALL).await;
    run(&redis, "ACL SETUSER follower on >old +slowlog|get +info").await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "old\n").expect("a file");
    let file = file.display().to_string();
    let follower = Follower::start(
        &redis,
        &["--redis-user", "follower", "--redis-password-file", &file],
    );
    follower.until_ready().await;
    std::fs::write(&file, "new\n").expect("a file");
    run(&redis, "ACL SETUSER follower resetpass >new").await;
    run(&redis, "CLIENT KILL USER follower").await;
    follower.helper.logged("no slow log from Redis").await;
    run(&redis, "SET key 1").await;
    follower.until_printed("key").await;
    assert_eq!(follower.account().1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_asked_less_and_less_often() {
    let mut redis = Redis::start(&ALL).await;
    let follower = Follower::start(&redis, &[]);
    follower.until_ready().await;
    redis.stop().await;
    let start = Instant::now();
    let misses = || {
        let log = follower.helper.process.log();
        log.iter()
            .filter(|line| line.contains("no slow log from Redis"))
            .count()
    };
    follower
        .until_unready("Redis has not answered 3 times in a row")
        .await;
    until("five misses", async || (misses() >= 5).then_some(())).await;
    // At least half of 100, 200, 400 and 800 ms between them.
    assert!(
        start.elapsed() >= Duration::from_millis(750),
        "{:?}",
        start.elapsed()
    );
    redis.restart().await;
    follower.until_ready().await;
    run(&redis, "SET key 1").await;
    follower.until_printed("key").await;
    assert!(misses() < 12, "{}", misses());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_frozen_is_given_up_and_loses_nothing() {
    let redis = Redis::start(&ALL).await;
    let follower = Follower::start(&redis, &[]);
    follower.until_ready().await;
    send(&redis, (0..100).map(|key| set(format!("before:{key}")))).await;
    redis.process().signal("STOP").await;
    follower
        .until_unready("Redis has not answered 3 times in a row")
        .await;
    redis.process().signal("CONT").await;
    follower.until_ready().await;
    send(&redis, (0..100).map(|key| set(format!("after:{key}")))).await;
    follower.until_printed("after:99").await;
    let keys = follower.keys();
    let expected = ["before", "after"].map(|when| (0..100).map(move |key| format!("{when}:{key}")));
    for key in expected.into_iter().flatten() {
        assert_eq!(keys.get(&key), Some(&1), "{key}");
    }
    assert_eq!(follower.account().1, 0);
}

/// Commands with a secret or two, and the key that is to be printed.
const KEYS: [(&str, Option<&str>); 49] = [
    ("SET k1 secret", Some("k1")),
    ("MSET k2 secret k3 secret", Some("k2")),
    ("GETSET k4 secret", Some("k4")),
    ("SETEX k5 10 secret", Some("k5")),
    ("LPUSH l secret", Some("l")),
    ("LINSERT l BEFORE secret secret", Some("l")),
    ("HSET h secret secret", Some("h")),
    ("XADD s * field secret", Some("s")),
    ("XREAD COUNT 1 STREAMS s 0", Some("s")),
    ("XGROUP CREATE s g 0", Some("s")),
    ("XREADGROUP GROUP g secret COUNT 1 STREAMS s >", Some("s")),
    ("ZADD z 1 secret", Some("z")),
    ("ZUNION 2 z z", Some("z")),
    ("ZUNIONSTORE zz 1 z", Some("zz")),
    ("LMPOP 1 l LEFT", Some("l")),
    ("BLMPOP 0.01 1 l LEFT", Some("l")),
    ("SORT l BY secret*", Some("l")),
    ("OBJECT ENCODING k1", Some("k1")),
    ("MEMORY USAGE k1", Some("k1")),
    ("BITOP NOT b k1", Some("b")),
    ("COPY k1 k6", Some("k1")),
    ("EVAL return('secret') 0 secret", None),
    ("EVAL return('secret') 1 k1 secret", Some("k1")),
    ("EVAL_RO return('secret') 1 k1 secret", Some("k1")),
    ("SCRIPT LOAD return('secret')", None),
    ("FCALL f 1 k1 secret", Some("k1")),
    ("FCALL f 0 secret", None),
    ("AUTH secret", None),
    ("AUTH default secret", None),
    ("HELLO 3 AUTH default secret", None),
    ("ACL SETUSER other on >secret", None),
    ("CONFIG SET masterauth secret", None),
    ("CONFIG GET secret", None),
    ("CLIENT INFO", None),
    ("CLIENT NO-EVICT off", None),
    ("CLIENT LIST TYPE normal", None),
    ("MIGRATE 127.0.0.1 1 k1 0 10 AUTH secret", Some("k1")),
    ("PUBLISH secret secret", None),
    ("ECHO secret", None),
    ("PING secret", None),
    ("KEYS secret*", None),
    ("SCAN 0 MATCH secret*", None),
    ("PUBSUB CHANNELS secret*", None),
    ("LATENCY HISTOGRAM secret", None),
    ("DEBUG SLEEP 0", None),
    ("SELECT 0", None),
    ("RESTORE k7 0 secret", Some("k7")),
    ("MSETNX k8 secret", Some("k8")),
    ("SUBSTR k1 0 1", Some("k1")),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_printed_that_is_not_asked_for() {
    let redis = Redis::start(&[&ALL[..], &["--enable-debug-command", "local"]].concat()).await;
    let start = |arguments| Follower::start(&redis, &["--args", arguments]);
    let (none, key, all) = (start("none"), start("key"), start("all"));
    for follower in [&none, &key, &all] {
        follower.until_ready().await;
    }
    let words = |text: &'static str| text.split(' ').map(str::as_bytes).collect();
    let mut cases: Vec<(Vec<&[u8]>, Option<&str>)> =
        KEYS.iter().map(|(text, key)| (words(text), *key)).collect();
    let library = b"#!lua name=secret\nredis.register_function('f', function() return 1 end)";
    cases.push((vec![b"FUNCTION", b"LOAD", b"REPLACE", library], None));
    let mut connection = redis.client().await;
    let info: String = command(&["CLIENT", "INFO"])
        .query_async(&mut connection)
        .await
        .expect("itself");
    let address = info
        .split(' ')
        .find_map(|field| field.strip_prefix("addr="))
        .expect("an address");
    // The library first, so that its function is there.
    for (words, _) in cases.iter().rev().take(1).chain(&cases) {
        // Some are refused: they were slow all the same.
        let _ = command(words)
            .query_async::<redis::Value>(&mut connection)
            .await;
    }
    run(&redis, "SET last 1").await;
    until("the last one", async || {
        let seen = |follower: &Follower| {
            let lines = follower.lines();
            lines
                .iter()
                .any(|line| line["command"] == "SET" && line["client"] != address)
        };
        (seen(&none) && seen(&key) && seen(&all)).then_some(())
    })
    .await;
    let said = |follower: &Follower| follower.helper.process.out().join("\n");
    assert!(!said(&none).contains("secret") && !said(&none).contains(r#""key""#));
    assert!(!said(&key).contains("secret"), "{}", said(&key));
    assert!(said(&all).contains("secret"));
    let printed: BTreeSet<(String, u64, Option<String>)> = key
        .lines()
        .iter()
        .filter(|line| line["client"] == address)
        .map(|line| {
            let command = line["command"].as_str().expect("a command").to_owned();
            let argc = line["argc"].as_u64().expect("a number");
            (command, argc, line["key"].as_str().map(str::to_owned))
        })
        .collect();
    let expected: BTreeSet<_> = cases
        .iter()
        .map(|(words, key)| {
            let command = String::from_utf8_lossy(words[0]).into_owned();
            (command, words.len() as u64, key.map(str::to_owned))
        })
        .collect();
    assert_eq!(printed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_and_long_commands_are_lines_as_well() {
    let redis = Redis::start(&ALL).await;
    let follower = Follower::start(&redis, &["--args", "all"]);
    follower.until_ready().await;
    let mut connection = redis.client().await;
    let odd: &[u8] = b"\xff\x00\"\\\n\xc3\xa4";
    let long = vec![b'x'; 10_000];
    let many: Vec<Vec<u8>> = (0..1000)
        .map(|key| format!("k{key}").into_bytes())
        .collect();
    for words in [
        vec![&b"SET"[..], odd, odd],
        vec![b"GET", &long],
        [
            &[&b"DEL"[..]][..],
            &many.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        ]
        .concat(),
        vec![b"GET", b""],
        vec![b"gEt", b"last"],
    ] {
        command(&words)
            .query_async::<redis::Value>(&mut connection)
            .await
            .expect("an answer");
    }
    follower.until_printed("last").await;
    let lines = follower.lines();
    let find = |command: &str, n: usize| {
        let found = lines
            .iter()
            .filter(|line| line["command"] == command)
            .nth(n);
        found.expect("it is printed").clone()
    };
    let shown = "\u{fffd}\0\"\\\nä";
    let line = find("SET", 0);
    assert_eq!(
        (&line["key"], &line["args"]),
        (&json!(shown), &json!([shown, shown]))
    );
    // The server cuts words at 128 bytes, and commands at 32 words.
    let cut = format!("{}... (9872 more bytes)", "x".repeat(128));
    assert_eq!(find("GET", 0)["key"], cut);
    let line = find("DEL", 0);
    assert_eq!(line["key"], "k0");
    assert_eq!(
        line["args"].as_array().expect("a list").last(),
        Some(&json!("... (970 more arguments)"))
    );
    assert_eq!(line["argc"], 1001, "as many as there were");
    assert_eq!(find("GET", 1)["key"], "");
    assert_eq!(find("GET", 2)["argc"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_nobody_reads_its_lines() {
    let redis = Redis::start(&ALL).await;
    let mut command = Command::new("bash");
    command
        .args(["-c", r#"set -o pipefail; "$0" "$@" | head -n 1"#])
        .arg(env!("CARGO_BIN_EXE_outrigger-helper"))
        .args([
            "redis-slowlog",
            "--interval",
            "100ms",
            "--redis-url",
            &redis.url(),
        ])
        .args(["--health-address", "127.0.0.1:0"]);
    let mut process = Process::start("redis-slowlog | head", &mut command);
    // Each look is a slow command.
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1));
    until("its last word", async || {
        let log = process.log();
        log.last()
            .is_some_and(|line| line == "error: Broken pipe (os error 32)")
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_stuck_holds_up_neither_probes_nor_the_end() {
    let redis = Redis::start(&ALL).await;
    send(&redis, (0..5000).map(|key| set(format!("key:{key}")))).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrigger-helper"))
        .args([
            "redis-slowlog",
            "--interval",
            "100ms",
            "--redis-url",
            &redis.url(),
        ])
        .args(["--from", "oldest", "--health-address", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut log = child.stderr.take().expect("its stderr");
    let mut said = String::new();
    let url = loop {
        let mut piece = [0; 4096];
        let length = log.read(&mut piece).await.expect("its log");
        said += &String::from_utf8_lossy(&piece[..length]);
        let address = said.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["address"].as_str().map(str::to_owned)
        });
        if let Some(address) = address {
            break format!("http://{address}/livez");
        }
    };
    // The pipe is full when it holds 64 KiB. Nobody sees that but the kernel; it sleeps in a write, or its thread does.
    let id = child.id().expect("it runs");
    until("it to be stuck", async || {
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
        threads
            .flatten()
            .any(|thread| {
                let channel = std::fs::read_to_string(thread.path().join("wchan"));
                channel.is_ok_and(|channel| channel.contains("pipe_write"))
            })
            .then_some(())
    })
    .await;
    let answer = reqwest::Client::new()
        .get(&url)
        .timeout(Duration::from_secs(2))
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status(), 200);
    let status = Command::new("kill").arg(id.to_string()).status().await;
    assert!(status.expect("kill runs").success());
    let ended = timeout(Duration::from_secs(1), child.wait()).await;
    let status = ended.expect("in a second").expect("a status");
    assert_eq!(status.code(), Some(0));
}

/// Whether bytes wait in a connection to this port of the loopback.
fn unread(port: u16) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let here = format!("0100007F:{port:04X}");
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, queues) = (fields.next(), fields.nth(2));
        local == Some(&here) && queues.is_some_and(|queues| !queues.ends_with(":00000000"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_within_a_second_whatever_the_server_does() {
    let mut redis = Redis::start(&ALL).await;
    let follow = || Follower::start(&redis, &["--interval", "1h"]);
    let (idle, away, frozen) = (
        follow(),
        Follower::start(&redis, &[]),
        Follower::start(&redis, &[]),
    );
    for follower in [&idle, &away, &frozen] {
        follower.until_ready().await;
    }
    let end = async |mut follower: Follower| {
        let start = Instant::now();
        follower.helper.process.signal("TERM").await;
        let status = follower.helper.process.ended().await;
        assert_eq!(status.code(), Some(0));
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    };
    end(idle).await;
    redis.process().signal("STOP").await;
    until("a question to wait at the server", async || {
        unread(redis.port).then_some(())
    })
    .await;
    end(frozen).await;
    redis.stop().await;
    away.until_unready("Redis has not answered").await;
    end(away).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn valkeys_large_requests_and_replies_are_printed_too() {
    let options = [
        "--commandlog-execution-slower-than",
        "0",
        "--commandlog-request-larger-than",
        "5000",
        "--commandlog-reply-larger-than",
        "5000",
        "--commandlog-slow-execution-max-len",
        "10000",
    ];
    let mut valkey = Redis::valkey(&options).await;
    let follower = Follower::start(&valkey, &[]);
    follower.until_ready().await;
    let find = |message: &str, key: &str| {
        let lines = follower.lines();
        lines
            .into_iter()
            .find(|line| line["msg"] == message && line["key"] == key)
    };
    for round in ["first", "second"] {
        let large = format!("{round}:large");
        send(
            &valkey,
            [
                vec!["SET".to_owned(), large.clone(), "x".repeat(6000)],
                vec!["GET".to_owned(), large.clone()],
            ],
        )
        .await;
        let request = until("the request", async || find("redis large request", &large)).await;
        assert_eq!(request["command"], "SET");
        assert!(
            request["bytes"].as_u64().expect("a number") > 6000,
            "{request}"
        );
        assert_eq!(request.get("duration_us"), None);
        let reply = until("the reply", async || find("redis large reply", &large)).await;
        assert_eq!(reply["command"], "GET");
        assert!(reply["bytes"].as_u64().expect("a number") > 6000, "{reply}");
        let slow = until("the slow one", async || find("redis slow command", &large)).await;
        assert!(slow["duration_us"].is_u64());
        if round == "first" {
            valkey.restart().await;
            until("the restart to be told", async || {
                follower
                    .lines()
                    .into_iter()
                    .find(|line| line["msg"] == "redis restarted")
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_valkey_a_user_without_the_right_to_the_command_log_follows_the_slow_one() {
    let options = [
        "--commandlog-execution-slower-than",
        "0",
        "--commandlog-request-larger-than",
        "5000",
    ];
    let valkey = Redis::valkey(&options).await;
    // With the rights that let it read large requests, and without.
    let rights = [
        ("+slowlog|get +info +commandlog|get", true),
        ("+slowlog|get +info", false),
        ("+slowlog|get +info +command|info", false),
        ("+slowlog|get", false),
    ];
    let mut followers = Vec::new();
    for (index, (rights, reads)) in rights.into_iter().enumerate() {
        let name = format!("user{index}");
        run(&valkey, &format!("ACL SETUSER {name} on >pw {rights}")).await;
        let password = [("OUTRIGGER_REDIS_PASSWORD", "pw")];
        let follower = Follower::start_with(&valkey, &["--redis-user", &name], &password);
        follower.until_ready().await;
        followers.push((rights, reads, follower));
    }
    let large = vec!["SET".to_owned(), "large".to_owned(), "x".repeat(6000)];
    send(&valkey, [large]).await;
    for (_, _, follower) in &followers {
        follower.until_printed("large").await;
    }
    // Printed by a later look, so that the first one's large requests have been, too.
    run(&valkey, "SET later 1").await;
    for (rights, reads, follower) in &followers {
        follower.until_printed("later").await;
        let lines = follower.lines();
        let read = lines
            .iter()
            .any(|line| line["msg"] == "redis large request");
        assert_eq!(read, *reads, "{rights}");
        assert_eq!(follower.ready().await.0, 200, "{rights}");
    }
}
