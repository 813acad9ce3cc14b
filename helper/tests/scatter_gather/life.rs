//! Start, health port, and end.

use std::time::Duration;

use tokio::time::timeout;

use super::leaf::{Gate, Leaves, Reply};
use super::wire::Connection;
use super::{Root, usual};
use crate::support::{get, program, until};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_the_request_under_way_end_well() {
    let leaves = Leaves::start(4).await;
    let gate = Gate::shut();
    let mut root = Root::of(&leaves, &["--leaf-timeout", "60s"]).await;
    let mut idle = Connection::open(&root.url).await;
    idle.send(REQUEST).await;
    assert_eq!(idle.answer().await.expect("an answer").status, 200);
    for leaf in leaves.iter() {
        leaf.replies(Reply::json(usual(&[1])).behind(&gate));
    }
    let mut busy = Connection::open(&root.url).await;
    busy.send(REQUEST).await;
    until("the leaves to be asked", async || {
        leaves
            .iter()
            .all(|leaf| leaf.seen().len() == 2)
            .then_some(())
    })
    .await;
    root.helper.process.signal("TERM").await;
    assert!(
        idle.closed().await,
        "an idle connection has no reason to stay"
    );
    until("the port to be closed", async || {
        Connection::try_open(&root.url).await.err()
    })
    .await;
    gate.open();
    let said = busy.answer().await.expect("an answer");
    assert_eq!(said.status, 200);
    let header = |name| said.headers.iter().find(|(found, _)| found == name);
    assert_eq!(header("x-leaves").expect("a count").1, "4/4");
    assert_eq!(header("connection").expect("a last word").1, "close");
    assert_eq!(root.helper.process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_waits_for_no_leaf_longer_than_its_time() {
    let leaves = Leaves::start(2).await;
    leaves[1].replies(Reply::Silence);
    let mut root = Root::of(&leaves, &["--leaf-timeout", "1s"]).await;
    let mut busy = Connection::open(&root.url).await;
    busy.send(REQUEST).await;
    until("the leaf to be asked", async || leaves[1].seen().pop()).await;
    root.helper.process.signal("TERM").await;
    let said = busy.answer().await.expect("an answer");
    assert_eq!(said.status, 200);
    assert_eq!(root.helper.process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_root_that_does_nothing() {
    let mut root = Root::of(&Leaves::start(1).await, &[]).await;
    root.helper.process.signal("TERM").await;
    assert_eq!(root.helper.process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_port_says_how_it_goes() {
    let leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &["--min-leaves", "3"]).await;
    let health = root.helper.health().await;
    for path in ["/livez", "/readyz"] {
        let said = get(&format!("{health}{path}")).await;
        assert_eq!(said, (200, "ok\n".to_owned()));
    }
    assert_eq!(root.get("/").await.status, 200);
    leaves[0].replies(Reply::text(500, ""));
    assert_eq!(root.get("/").await.status, 200);
    leaves[1].replies(Reply::text(200, "no JSON"));
    leaves[2].replies(Reply::Raw(Vec::new()));
    assert_eq!(root.get("/").await.status, 504);
    for (metric, value) in [
        ("requests_total{code=\"200\"}", 2.0),
        ("requests_total{code=\"504\"}", 1.0),
        ("leaf_answers_total{outcome=\"ok\"}", 8.0),
        ("leaf_answers_total{outcome=\"status\"}", 2.0),
        ("leaf_answers_total{outcome=\"not_json\"}", 1.0),
        ("leaf_answers_total{outcome=\"broken\"}", 1.0),
        ("request_seconds_count", 3.0),
    ] {
        let found = root
            .helper
            .metric(&format!("scatter_gather_{metric}"))
            .await;
        assert!((found - value).abs() < 0.1, "{metric} is {found}");
    }
    // The app's port has no paths of its own.
    root.get("/metrics").await;
    assert_eq!(
        leaves[3].seen().pop().expect("a request").line,
        "GET /metrics HTTP/1.1"
    );
}

/// Options, exit code, and what is said up to the first empty line.
const NONSENSE: [(&str, i32, &str); 13] = [
    (
        "--leaf x",
        2,
        "error: invalid value 'x' for '--leaf <HOST:PORT>': expected host:port, not `x`",
    ),
    (
        "--leaf a:1,https://b:1",
        2,
        "error: invalid value 'https://b:1' for '--leaf <HOST:PORT>': expected host:port, not `https://b:1`",
    ),
    (
        "",
        2,
        "error: the following required arguments were not provided:\n  --leaf <HOST:PORT>",
    ),
    (
        "--leaf a:1 --merge raw --limit 3",
        1,
        "error: `--list`, `--sort-by` and `--limit` need `--merge deep` or `--merge concat`",
    ),
    (
        "--leaf a:1 --merge first --sort-by a",
        1,
        "error: `--list`, `--sort-by` and `--limit` need `--merge deep` or `--merge concat`",
    ),
    (
        "--leaf a:1 --merge shallow",
        2,
        "error: invalid value 'shallow' for '--merge <MERGE>'\n  [possible values: deep, concat, first, raw]",
    ),
    (
        "--leaf a:1 --max-bytes 11 --max-total-bytes 10",
        1,
        "error: `--max-bytes` (11) is more than `--max-total-bytes` (10)",
    ),
    (
        "--leaf a:1 --list a..b",
        1,
        "error: expected a path such as score or meta.score, not `a..b`",
    ),
    (
        "--leaf a:1 --sort-by -",
        2,
        "error: invalid value '-' for '--sort-by <[-]FIELD>': expected a path such as score or meta.score, not ``",
    ),
    (
        "--leaf a:1 --leaf-timeout 0s",
        2,
        "error: invalid value '0s' for '--leaf-timeout <DURATION>': expected a duration above zero such as 500ms, 2s or 1h30m, not `0s`",
    ),
    (
        "--leaf a:1 --max-requests 0",
        2,
        "error: invalid value '0' for '--max-requests <N>': 0 is not in 1..=65535",
    ),
    (
        "--leaf a:1 --listen 192.0.2.200:1",
        1,
        "error: cannot listen on `192.0.2.200:1`: Cannot assign requested address (os error 99)",
    ),
    // Nobody would ever get an answer.
    (
        "--leaf a:1,b:1 --merge first --min-leaves 2",
        1,
        "error: `--min-leaves` is 2, and `--merge first` takes one answer",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_make_no_sense_end_it_with_a_sentence() {
    let mut wrong = Vec::new();
    for (options, code, sentence) in NONSENSE {
        let mut command = program();
        command
            .arg("scatter-gather")
            .args(options.split_whitespace())
            .args(["--health-address", "127.0.0.1:0"])
            .kill_on_drop(true);
        let Ok(output) = timeout(Duration::from_secs(5), command.output()).await else {
            wrong.push(format!("{options}: it runs"));
            continue;
        };
        let output = output.expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.split("\n\n").next().unwrap_or_default().trim_end();
        if output.status.code() != Some(code) || said != sentence {
            wrong.push(format!("{options}: {:?} {said}", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
