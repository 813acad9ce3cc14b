//! Requests that no honest client sends: each is refused or goes to the leaves, and to nobody else.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::Root;
use super::leaf::{Leaf, Leaves};
use super::wire::{Connection, say};

/// A port 80 that nobody must come to, on the addresses of leaves.
async fn bystander(leaves: &Leaves) -> Leaf {
    let address = SocketAddr::new(leaves.ip(1), 80);
    Leaf::start(address).await.expect("port 80, as root")
}

/// Sends a request line; the status, and the line that leaves got.
async fn try_line(root: &Root, leaves: &Leaves, line: &[u8]) -> (Option<u16>, Option<String>) {
    let before = leaves[0].seen().len();
    let request = [line, b"\r\nHost: x\r\nConnection: close\r\n\r\n"].concat();
    let said = say(&root.url, &request).await;
    let seen = leaves[0].seen().get(before).map(|seen| seen.line.clone());
    (said.map(|said| said.status), seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_targets_go_to_the_leaves_alone_or_nowhere() {
    let leaves = Leaves::start(2).await;
    let (bystander, elsewhere) = (bystander(&leaves).await, Leaves::start(1).await);
    let root = Root::of(&leaves, &[]).await;
    let other = elsewhere.list();
    let long = format!("/{}", "a".repeat(8 * 1024));
    for (target, passed) in [
        (
            "/%0d%0aX-Evil:%201%0d%0a%0d%0aGET%20/x",
            Some("/%0d%0aX-Evil:%201%0d%0a%0d%0aGET%20/x"),
        ),
        ("/%zz?%", Some("/%zz?%")),
        ("/a%00b?c=%ff", Some("/a%00b?c=%ff")),
        ("/../../etc/passwd", Some("/../../etc/passwd")),
        ("/a?b?c#d", Some("/a?b?c")),
        ("/\"'{}|~:;,=&$!*()", Some("/\"'{}|~:;,=&$!*()")),
        ("/<>", None),
        ("/@evil/", Some("/@evil/")),
        (&format!("//{other}/x"), Some(&format!("//{other}/x"))),
        (&format!("///{other}"), Some(&format!("///{other}"))),
        (&format!("http://{other}/x?y"), Some("/x?y")),
        (&format!("http://{other}"), Some("/")),
        (&format!("http://{other}?y"), Some("/?y")),
        (&format!("http://u:p@{other}/x"), Some("/x")),
        (
            &format!("/http://{other}/"),
            Some(&format!("/http://{other}/")),
        ),
        (&long, Some(&long)),
        ("ftp://evil/x", Some("/x")),
        ("?a", None),
        ("a/b", None),
        // A host alone is what CONNECT has.
        ("evil:80", Some("/")),
        ("@evil", Some("/")),
    ] {
        let line = format!("GET {target} HTTP/1.1");
        let (status, seen) = try_line(&root, &leaves, line.as_bytes()).await;
        println!("{:.60}: {status:?}, {:.60}", target, format!("{seen:?}"));
        if let Some(passed) = passed {
            assert_eq!(status, Some(200), "{target}");
            assert_eq!(seen, Some(format!("GET {passed} HTTP/1.1")));
        } else {
            assert_eq!((status, seen), (Some(400), None), "{target}");
        }
    }
    assert_eq!((bystander.accepted(), elsewhere[0].accepted()), (0, 0));
    assert_eq!(root.get("/").await.leaves(), "2/2");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_methods_have_sane_answers() {
    let leaves = Leaves::start(2).await;
    let (bystander, elsewhere) = (bystander(&leaves).await, Leaves::start(1).await);
    let root = Root::of(&leaves, &[]).await;
    // The server as a whole.
    let (status, seen) = try_line(&root, &leaves, b"OPTIONS * HTTP/1.1").await;
    println!("OPTIONS *: {status:?}, {seen:?}");
    let passed = (status, seen.as_deref()) == (Some(200), Some("OPTIONS * HTTP/1.1"));
    let mut refused = true;
    // No tunnels: neither to others nor to leaves.
    for target in [
        elsewhere.list(),
        leaves[0].address.to_string(),
        "x".to_owned(),
    ] {
        let line = format!("CONNECT {target} HTTP/1.1");
        let (status, seen) = try_line(&root, &leaves, line.as_bytes()).await;
        println!("{line}: {status:?}, {seen:?}");
        refused &= (status, seen) == (Some(405), None);
    }
    assert_eq!((bystander.accepted(), elsewhere[0].accepted()), (0, 0));
    assert!(passed && refused);
    let (status, seen) = try_line(&root, &leaves, b"TRACE /x HTTP/1.1").await;
    assert_eq!(
        (status, seen.as_deref()),
        (Some(200), Some("TRACE /x HTTP/1.1"))
    );
    assert_eq!(root.get("/").await.leaves(), "2/2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_answered_without_a_body() {
    let leaves = Leaves::start(2).await;
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    leaves.all_reply(&super::leaf::Reply::Raw(head.to_vec()));
    for merge in ["deep", "concat", "first", "raw"] {
        let root = Root::of(&leaves, &["--merge", merge]).await;
        let mut client = Connection::open(&root.url).await;
        for _ in 0..3 {
            client.send(b"HEAD /x HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let said = client.head_only().await.expect("an answer");
            assert_eq!(said.status, 200, "{merge}: {said:?}");
        }
        assert_eq!(
            leaves[0].seen().pop().expect("a request").line,
            "HEAD /x HTTP/1.1"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_past_the_heads_own_length() {
    let leaves = Leaves::start(2).await;
    let root = Root::of(&leaves, &[]).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for (what, head, body) in [
        (
            "two lengths",
            "content-length: 0\r\ncontent-length: 38\r\n",
            smuggled,
        ),
        ("a list of lengths", "content-length: 0, 38\r\n", smuggled),
        ("a length with a sign", "content-length: +38\r\n", smuggled),
        (
            "a length beside chunks",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        (
            "chunks by another name",
            "transfer-encoding: xchunked\r\n",
            "0\r\n\r\n",
        ),
        (
            "chunks that are not last",
            "transfer-encoding: chunked, gzip\r\n",
            "0\r\n\r\n",
        ),
        (
            "a space before the colon",
            "content-length : 38\r\n",
            smuggled,
        ),
        ("a folded line", "x: y\r\n content-length: 38\r\n", smuggled),
        ("a bare CR", "x: a\rcontent-length: 38\r\n", smuggled),
        ("a NUL", "x: a\0b\r\n", ""),
    ] {
        let request = format!("POST /first HTTP/1.1\r\nhost: x\r\n{head}\r\n{body}");
        let said = say(&root.url, request.as_bytes()).await;
        println!("{what}: {:?}", said.as_ref().map(|said| said.status));
        if said.is_some_and(|said| said.status == 200) {
            assert_eq!(what, "a length beside chunks");
        }
    }
    for leaf in leaves.iter() {
        let seen: Vec<_> = leaf.seen().into_iter().map(|seen| seen.line).collect();
        assert!(
            seen.iter().all(|line| line == "POST /first HTTP/1.1"),
            "{seen:?}"
        );
    }
    assert_eq!(root.get("/").await.leaves(), "2/2");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_its_connection_and_nothing_else() {
    let leaves = Leaves::start(1).await;
    let root = Root::of(&leaves, &[]).await;
    let many = "x: y\r\n".repeat(200);
    let large = format!("x: {}\r\n", "y".repeat(1 << 20));
    for bytes in [
        b"\0\xff\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xe4\x20HTTP/1.1\r\n\r\n",
        format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes(),
        format!("GET / HTTP/1.1\r\nhost: x\r\n{large}\r\n").as_bytes(),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000)).as_bytes(),
    ] {
        let mut client = Connection::open(&root.url).await;
        client.send(bytes).await;
        let said = client.answer().await.map(|said| said.status);
        println!("{:.40}: {said:?}", bytes.escape_ascii().to_string());
        assert!(said.is_none_or(|status| (400..500).contains(&status)));
        assert!(client.closed().await);
    }
    assert_eq!(leaves[0].seen().len(), 0);
    // A port scan, and clients that come and go.
    for _ in 0..50 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        drop(Connection::open(&root.url).await);
        drop(listener);
    }
    assert_eq!(root.get("/").await.leaves(), "1/1");
}
