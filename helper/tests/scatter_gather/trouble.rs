//! Leaves in trouble: each is named with its reason, and the others' answers come as if it were not there.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::leaf::{Leaves, Reply};
use super::wire::Connection;
use super::{Root, usual};
use crate::support::until;

const LEAF_TIMEOUT: Duration = Duration::from_millis(400);
/// What an answer may take longer than its slowest leaf may, on a machine under load.
const LITTLE: Duration = Duration::from_millis(300);

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

/// Every way to go wrong, and what it is called.
fn troubles() -> Vec<(&'static str, Reply, &'static str)> {
    let flood = |told| Reply::Flood {
        bytes: 50 << 20,
        told,
    };
    let answer = |body: &[u8]| Reply::Answer {
        status: 200,
        headers: String::new(),
        body: body.to_vec(),
    };
    vec![
        ("says nothing", Reply::Silence, "timeout"),
        ("never ends", Reply::Drip, "timeout"),
        (
            "closes within a body of a told length",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[1"),
            "broken",
        ),
        (
            "closes between chunks",
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n"),
            "broken",
        ),
        ("closes instead of an answer", raw(""), "broken"),
        (
            "closes within its head",
            raw("HTTP/1.1 200 OK\r\ncont"),
            "broken",
        ),
        (
            "is no HTTP server",
            raw("-ERR unknown command\r\n"),
            "broken",
        ),
        (
            "speaks HTTP/2",
            raw("\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"),
            "broken",
        ),
        (
            "has a head without end",
            Reply::Endless(b"HTTP/1.1 200 OK\r\nx: y\r\nx: y\r\n"),
            "broken",
        ),
        ("sends 50 MB and says so", flood(true), "too-large"),
        ("sends 50 MB", flood(false), "too-large"),
        (
            "breaks off its JSON",
            answer(br#"{"total":1,"hits":["#),
            "not-json",
        ),
        ("has something after its JSON", answer(b"{} {}"), "not-json"),
        ("sends what JSON does not have", answer(b"NaN"), "not-json"),
        ("sends no UTF-8", answer(b"\"\xff\xfe\""), "not-json"),
        (
            "sends half a surrogate as UTF-8",
            answer(b"\"\xed\xa0\x80\""),
            "not-json",
        ),
        ("sends a page", answer(b"<html>"), "not-json"),
        (
            "compresses unasked",
            answer(b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
            "not-json",
        ),
        ("fails", Reply::text(500, "[]"), "status-500"),
        ("knows nothing", Reply::text(404, "[]"), "status-404"),
        (
            "sends elsewhere",
            raw("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
            "status-302",
        ),
        (
            "upgrades unasked",
            raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
            "status-101",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_in_trouble_is_left_out_and_named() {
    let leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &["--leaf-timeout", "400ms"]).await;
    for (what, reply, reason) in troubles() {
        leaves[2].replies(reply);
        let answer = root.get("/").await;
        println!("a leaf that {what}: {reason} after {:?}", answer.took);
        assert_eq!((answer.status, answer.leaves()), (200, "3/4"), "{what}");
        let named = [(leaves[2].address.to_string(), reason.to_owned())];
        assert_eq!(answer.missing(), named.into(), "{what}");
        assert_eq!(answer.json(), usual(&[1, 2, 4]), "{what}");
        assert!(answer.took < LEAF_TIMEOUT + LITTLE, "{what}: {answer:?}");
        if reason == "timeout" {
            assert!(answer.took >= LEAF_TIMEOUT, "{what}: {answer:?}");
        }
    }
    // Nobody is listened to any longer than that.
    until("the bad leaf to be alone", async || {
        (leaves[2].open() == 0).then_some(())
    })
    .await;
    leaves[2].replies(Reply::json(json!({"total": 3})));
    assert_eq!(root.get("/").await.leaves(), "4/4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_is_gone_is_named_at_once() {
    let mut leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &["--leaf-timeout", "20s"]).await;
    assert_eq!(root.get("/").await.leaves(), "4/4");
    let gone = leaves[0].address.to_string();
    leaves.stop(0).await;
    let answer = root.get("/").await;
    assert_eq!(answer.missing(), [(gone, "unreachable".to_owned())].into());
    assert_eq!(answer.json(), usual(&[2, 3, 4]));
    assert!(answer.took < Duration::from_secs(5), "{answer:?}");
}

/// As an address that routers drop packets for: its queue of connections is full, and the kernel is silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_whose_host_is_silent_is_named_in_time() {
    let leaves = Leaves::start(3).await;
    let black_hole = TcpSocket::new_v4().expect("a socket");
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    black_hole.bind(address).expect("a port");
    let listener = black_hole.listen(1).expect("a queue");
    let address = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        queued.push(stream.expect("a connection"));
    }
    let list = format!("{},{address}", leaves.list());
    let root = Root::start(&["--leaf", &list], &["--leaf-timeout", "400ms"]).await;
    for _ in 0..5 {
        let answer = root.get("/").await;
        assert_eq!(answer.json(), usual(&[1, 2, 3]));
        assert_eq!(
            answer.missing(),
            [(address.to_string(), "timeout".to_owned())].into()
        );
        assert!(answer.took < LEAF_TIMEOUT + LITTLE, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_missing_leaves_are_named_up_to_a_limit() {
    let leaves = Leaves::start(1).await;
    let gone = (1..=80).map(|number| leaves.ip(100 + number).to_string() + ":1");
    let list = [leaves.list()].into_iter().chain(gone);
    let list = list.collect::<Vec<_>>().join(",");
    let answer = Root::start(&["--leaf", &list], &[]).await.get("/").await;
    assert_eq!((answer.status, answer.leaves()), (200, "1/81"));
    let missing = answer.header("x-leaves-missing");
    assert_eq!(missing.matches(" unreachable").count(), 50);
    assert!(missing.ends_with(", ..."), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_takes_its_questions_with_it() {
    let leaves = Leaves::start(3).await;
    leaves.all_reply(&Reply::Silence);
    let root = Root::of(&leaves, &["--leaf-timeout", "60s"]).await;
    let mut client = Connection::open(&root.url).await;
    client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    until("the leaves to be asked", async || {
        leaves
            .iter()
            .all(|leaf| leaf.seen().len() == 1)
            .then_some(())
    })
    .await;
    drop(client);
    until("nobody to wait for them", async || {
        leaves.iter().all(|leaf| leaf.open() == 0).then_some(())
    })
    .await;
}
