//! What is too few, too much, or too many at once.

use serde_json::json;
use tokio::task::JoinSet;

use super::leaf::{Gate, Leaves, Reply};
use super::wire::{Connection, say};
use super::{Root, usual};
use crate::support::until;

const MIB: u64 = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn too_few_answers_are_none() {
    let leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &["--min-leaves", "3", "--leaf-timeout", "300ms"]).await;
    leaves[3].replies(Reply::Silence);
    let answer = root.get("/").await;
    assert_eq!((answer.status, answer.leaves()), (200, "3/4"));
    assert_eq!(answer.json(), usual(&[1, 2, 3]));

    leaves[2].replies(Reply::text(503, ""));
    let answer = root.get("/").await;
    assert_eq!((answer.status, answer.leaves()), (504, "2/4"));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.json(),
        json!({"error": "too few leaves answered", "answered": 2, "of": 4})
    );
    assert_eq!(answer.missing().len(), 2);

    leaves[2].replies(Reply::Flood {
        bytes: 10 << 20,
        told: true,
    });
    let answer = root.get("/").await;
    assert_eq!((answer.status, answer.leaves()), (502, "2/4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused() {
    let leaves = Leaves::start(2).await;
    let root = Root::of(&leaves, &["--max-bytes", "1000"]).await;
    let refused = json!({"error": "the request's body is too large"});
    assert_eq!(root.post(vec![b'a'; 1000]).await.status, 200);
    let answer = root.post(vec![b'a'; 1001]).await;
    assert_eq!((answer.status, answer.json()), (413, refused.clone()));

    // Chunks do not tell their sum; a length that is told is believed before a byte is sent.
    let chunks = [
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n".as_slice(),
        &[b'a'; 1001],
        b"\r\n0\r\n\r\n",
    ];
    let promise =
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\nexpect: 100-continue\r\n\r\n";
    for request in [chunks.concat(), promise.to_vec()] {
        let said = say(&root.url, &request).await.expect("an answer");
        assert_eq!(said.status, 413);
        assert_eq!(said.body, format!("{refused}\n"));
    }
    for leaf in leaves.iter() {
        assert_eq!(leaf.seen().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_reaches_no_leaf() {
    let leaves = Leaves::start(1).await;
    let root = Root::of(&leaves, &[]).await;
    let garbage = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let said = say(&root.url, garbage).await;
    assert!(said.is_none_or(|said| said.status == 400));
    let mut client = Connection::open(&root.url).await;
    client
        .send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345")
        .await;
    drop(client);
    assert_eq!(root.get("/").await.status, 200);
    let seen = leaves[0].seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_at_once_are_told_so() {
    let leaves = Leaves::start(2).await;
    let gate = Gate::shut();
    leaves.all_reply(&Reply::json(json!([])).behind(&gate));
    let root = Root::of(&leaves, &["--max-requests", "2", "--leaf-timeout", "60s"]).await;
    let (mut first, mut second, mut third) = (
        Connection::open(&root.url).await,
        Connection::open(&root.url).await,
        Connection::open(&root.url).await,
    );
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    first.send(request).await;
    second.send(request).await;
    until("both to be under way", async || {
        (leaves[0].seen().len() == 2).then_some(())
    })
    .await;
    third.send(request).await;
    let said = third.answer().await.expect("an answer");
    assert_eq!(said.status, 503);
    assert_eq!(said.body, "{\"error\":\"too many requests at once\"}\n");
    gate.open();
    assert_eq!(first.answer().await.expect("an answer").status, 200);
    assert_eq!(second.answer().await.expect("an answer").status, 200);
    third.send(request).await;
    assert_eq!(third.answer().await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_many_together_are_told_so() {
    let leaves = Leaves::start(1).await;
    let gate = Gate::shut();
    leaves.all_reply(&Reply::json(json!([])).behind(&gate));
    let root = Root::of(
        &leaves,
        &[
            "--max-bytes",
            "1000",
            "--max-total-bytes",
            "1500",
            "--leaf-timeout",
            "60s",
        ],
    )
    .await;
    let mut first = Connection::open(&root.url).await;
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".as_slice();
    first.send(&[head, &[b'a'; 1000]].concat()).await;
    until("it to be under way", async || {
        (leaves[0].seen().len() == 1).then_some(())
    })
    .await;
    let answer = root.post(vec![b'a'; 1000]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json(),
        json!({"error": "too many bytes are held at once"})
    );
    gate.open();
    assert_eq!(first.answer().await.expect("an answer").status, 200);
    assert_eq!(root.post(vec![b'a'; 1000]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_talks_without_end_costs_little_memory() {
    let leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &["--max-bytes", "4194304"]).await;
    assert_eq!(root.get("/").await.leaves(), "4/4");
    let before = root.helper.rss();
    for told in [true, false] {
        leaves[1].replies(Reply::Flood {
            bytes: 50 << 20,
            told,
        });
        for _ in 0..5 {
            assert_eq!(root.get("/").await.leaves(), "3/4");
        }
    }
    let grown = root.helper.peak_rss() - before;
    println!("{before} KiB, and {grown} KiB more at most");
    assert!(grown < 3 * 4 * MIB, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_whose_leaves_all_talk_without_end_cost_bounded_memory() {
    let leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &["--leaf-timeout", "5s"]).await;
    let before = root.helper.rss();
    for told in [false, true] {
        leaves.all_reply(&Reply::Flood {
            bytes: 50 << 20,
            told,
        });
        let mut requests = JoinSet::new();
        for _ in 0..50 {
            let request = root.client.get(&root.url);
            requests.spawn(async move { request.send().await.expect("an answer").status() });
        }
        while let Some(status) = requests.join_next().await {
            // Too large, or too slow where so much is sent.
            let status = status.expect("no panic").as_u16();
            assert!([502, 504].contains(&status), "{status}");
        }
        println!(
            "{before} KiB before, {} KiB at most, {} KiB now",
            root.helper.peak_rss(),
            root.helper.rss()
        );
    }
    // 48 MiB of bodies whose buffers may have grown to twice that, and what 200 connections are being read into; not 1600 MiB.
    assert!(root.helper.peak_rss() < 224 * MIB);
    leaves.all_reply(&Reply::json(json!([1])));
    assert_eq!(root.get("/").await.leaves(), "4/4");
}

/// 8 MiB of `[1,1,1,…]` are four million items.
#[tokio::test(flavor = "multi_thread")]
async fn merging_small_items_costs_about_what_they_are() {
    let leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &["--leaf-timeout", "20s"]).await;
    let items = vec!["1"; (8 << 20) / 2 - 1].join(",");
    leaves.all_reply(&Reply::text(200, &format!("[{items}]")));
    let answer = root.get("/").await;
    println!("{} KiB at most, {:?}", root.helper.peak_rss(), answer.took);
    assert_eq!((answer.status, answer.leaves()), (200, "4/4"));
    assert_eq!(answer.body.len(), 4 * (items.len() + 1) + 1);
    // Four bodies, and as much again.
    assert!(root.helper.peak_rss() < (2 * 4 * 8 + 64) * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_cost_bounded_memory() {
    let leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &["--leaf-timeout", "20s"]).await;
    leaves.all_reply(&Reply::json(json!(["a".repeat(7 << 20)])));
    let mut idle = Vec::new();
    for asked in 1..=20 {
        let mut client = Connection::open(&root.url).await;
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        idle.push(client);
        until("the request to be answered", async || {
            let answered = root.helper.metric("scatter_gather_request_seconds_count");
            (answered.await >= f64::from(asked)).then_some(())
        })
        .await;
    }
    println!("{} KiB at most", root.helper.peak_rss());
    assert!(root.helper.peak_rss() < 200 * MIB);
    drop(idle);
    assert_eq!(root.get("/").await.status, 200);
}
