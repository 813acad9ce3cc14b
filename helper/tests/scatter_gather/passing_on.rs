//! What reaches the leaves, and over which connections.

use serde_json::json;

use super::leaf::{Leaf, Leaves, Reply};
use super::wire::say;
use super::{Root, usual};

#[tokio::test(flavor = "multi_thread")]
async fn one_request_reaches_all_leaves_and_their_answers_come_back_as_one() {
    let leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &[]).await;
    let answer = root.get("/search?q=cat").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.leaves(), "4/4");
    assert_eq!(answer.header("x-leaves-missing"), "");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json(), usual(&[1, 2, 3, 4]));
    for leaf in leaves.iter() {
        let seen = leaf.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].line, "GET /search?q=cat HTTP/1.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_get_what_the_app_sent_without_what_is_between_neighbours() {
    let leaves = Leaves::start(2).await;
    let root = Root::of(&leaves, &[]).await;
    let request = b"POST /a%20b/%C3%A4//c;d?q=1&q=%zz&empty= HTTP/1.1\r\n\
        Host: somebody.else\r\n\
        X-User: u 1\r\n\
        X-Many: 1\r\n\
        X-Many: 2\r\n\
        X-Latin: \xe4\r\n\
        Authorization: Bearer token\r\n\
        Cookie: a=b\r\n\
        Content-Type: text/plain\r\n\
        Range: bytes=0-1\r\n\
        Accept-Encoding: gzip\r\n\
        Connection: keep-alive, X-Hop\r\n\
        X-Hop: 1\r\n\
        Keep-Alive: timeout=5\r\n\
        Proxy-Connection: keep-alive\r\n\
        Proxy-Authorization: Basic eA==\r\n\
        TE: trailers\r\n\
        Trailer: x-check\r\n\
        Upgrade: h2c\r\n\
        Transfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n6\r\n world\r\n0\r\nX-Check: 1\r\n\r\n";
    let answer = say(&root.url, request).await.expect("an answer");
    assert_eq!(answer.status, 200);
    for leaf in leaves.iter() {
        let seen = &leaf.seen()[0];
        assert_eq!(
            seen.line,
            "POST /a%20b/%C3%A4//c;d?q=1&q=%zz&empty= HTTP/1.1"
        );
        assert_eq!(seen.body, b"hello world");
        let mut headers = seen.headers.clone();
        headers.sort();
        let expected = [
            ("authorization", "Bearer token"),
            ("content-length", "11"),
            ("content-type", "text/plain"),
            ("cookie", "a=b"),
            ("host", leaf.address.to_string().as_str()),
            ("range", "bytes=0-1"),
            ("x-latin", "\u{e4}"),
            ("x-many", "1"),
            ("x-many", "2"),
            ("x-user", "u 1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_passed_on() {
    let leaves = Leaves::start(2).await;
    let root = Root::of(&leaves, &[]).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = root
            .client
            .request(method.clone(), format!("{}/x", root.url));
        assert_eq!(root.ask(request).await.leaves(), "2/2");
        for leaf in leaves.iter() {
            let last = leaf.seen().pop().expect("a request");
            assert_eq!(last.line, format!("{method} /x HTTP/1.1"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_leaves_are_used_again() {
    let leaves = Leaves::start(4).await;
    let root = Root::of(&leaves, &[]).await;
    for _ in 0..100 {
        assert_eq!(root.get("/").await.leaves(), "4/4");
    }
    for leaf in leaves.iter() {
        assert_eq!((leaf.seen().len(), leaf.accepted()), (100, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_that_close_their_connections_cost_no_request() {
    let leaves = Leaves::start(2).await;
    leaves.all_reply(&Reply::Raw(
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\n[1]".to_vec(),
    ));
    let root = Root::of(&leaves, &[]).await;
    for _ in 0..100 {
        let answer = root.get("/").await;
        assert_eq!((answer.leaves(), answer.json()), ("2/2", json!([1, 1])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_come_in_any_framing() {
    let leaves = Leaves::start(4).await;
    let texts = [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n[3]",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 3\r\n\r\n[4]",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ];
    for (leaf, text) in leaves.iter().zip(texts) {
        leaf.replies(Reply::Raw(text.as_bytes().to_vec()));
    }
    let answer = Root::of(&leaves, &[]).await.get("/").await;
    assert_eq!(answer.leaves(), "4/4");
    assert_eq!(answer.json(), json!([1, 2, 3, 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_may_have_an_ipv6_address() {
    let leaf = Leaf::start("[::1]:0".parse().expect("an address")).await;
    let leaf = leaf.expect("IPv6 on the loopback");
    let root = Root::start(&["--leaf", &leaf.address.to_string()], &[]).await;
    assert_eq!(root.get("/").await.leaves(), "1/1");
    assert_eq!(
        leaf.seen()[0].header("host"),
        Some(leaf.address.to_string().as_str())
    );
}
