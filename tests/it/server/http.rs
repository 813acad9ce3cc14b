//! HTTP around a review: headers, methods, paths, connections.

use std::io::{Read, Write};

use serde_json::json;

use crate::support::server::{
    Answer, LastWords, Server, answer, asking, eventually, exchange, raw_request, request,
};

const LINE: &str = "POST /mutate/annotated HTTP/1.1";

/// A good review under this request line and these headers, over a connection of its own.
fn send(server: &Server, line: &str, headers: &str) -> Answer {
    let body = asking("u");
    let headers = format!("{headers}Content-Length: {}\r\n", body.len());
    exchange(server.connect(), &raw_request(line, &headers, &body))
}

/// A status without a body.
#[track_caller]
fn assert_empty(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.text().as_str()), (status, ""));
    assert!(!answer.head.contains("content-type"), "{}", answer.head);
}

#[test]
fn only_json_as_it_is_is_read() {
    let server = Server::start(&[]);
    for headers in [
        "",
        "Content-Type:\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/jsonx\r\n",
        "Content-Type: application/json, text/plain\r\n",
        "Content-Type: application/yaml\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        "Content-Type: application/json\r\nContent-Encoding: identity, gzip\r\n",
    ] {
        assert_empty(&send(&server, LINE, headers), 415);
    }
    server.assert_rejected("content-type", 8);
    let plain = server.post("/mutate/annotated", &asking("u")).body;
    for headers in [
        "Content-Type: application/json; charset=utf-8\r\n",
        "content-type: APPLICATION/JSON\r\n",
        "Content-Type: application/json\r\nContent-Encoding: identity\r\n",
    ] {
        let answer = send(&server, LINE, headers);
        assert_eq!((answer.status, &answer.body), (200, &plain));
    }
    server.assert_rejected("content-type", 8);
}

#[test]
fn credentials_and_unknown_parameters_change_nothing() {
    let server = Server::start(&[]);
    let plain = server.post("/mutate/annotated", &asking("u")).body;
    for (query, headers) in [
        ("?timeout=10s&dryRun=All&x=%ff&&=", ""),
        ("?timeout=never", "Authorization: Bearer x\r\n"),
        (
            "?",
            "Authorization: Basic eDp5\r\nCookie: a=b\r\nX-Forwarded-For: ::1\r\n",
        ),
    ] {
        let line = format!("POST /mutate/annotated{query} HTTP/1.1");
        let headers = format!("Content-Type: application/json\r\n{headers}");
        let answer = send(&server, &line, &headers);
        assert_eq!((answer.status, &answer.body), (200, &plain));
    }
    assert!(!server.whole_log().contains("Bearer"));
}

#[test]
fn other_paths_and_methods_are_not_there() {
    let server = Server::start(&[]);
    let json = "Content-Type: application/json\r\n";
    for path in [
        "/",
        "/mutate",
        "/mutate/",
        "/mutate/annotated/",
        "/mutate/annotated%2f",
        "/mutate/Annotated",
        "//mutate/annotated",
        "/x/../mutate/annotated",
        "/mutate/unknown",
        "/advise/",
        // Theirs is the other port.
        "/livez",
        "/readyz",
        "/metrics",
        "/ca.pem",
    ] {
        for method in ["GET", "POST"] {
            let line = format!("{method} {path} HTTP/1.1");
            assert_empty(&send(&server, &line, json), 404);
        }
    }
    for path in [
        "/mutate/annotated",
        "/mutate/namespace",
        "/mutate/cluster",
        "/advise",
    ] {
        for method in [
            "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "X",
        ] {
            let answer = send(&server, &format!("{method} {path} HTTP/1.1"), json);
            assert_empty(&answer, 405);
            assert!(answer.head.contains("allow: post\r\n"), "{}", answer.head);
        }
        // And this port's are not theirs.
        assert_eq!(server.get(path).status, 404);
    }
    server.assert_serving();
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let server = Server::start(&[]);
    let body = asking("u");
    let bytes = format!(
        "POST /mutate/annotated HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = server.connect();
    connection
        .write_all(&[bytes.as_bytes(), &body].concat())
        .expect("the request goes");
    let first = answer(&mut connection).expect("an answer");
    assert_eq!(first.response()["patchType"], "JSONPatch");
    assert!(first.head.starts_with("http/1.0 200 ok"), "{}", first.head);
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).expect("a clean end");
    assert_eq!(rest, b"");
}

#[test]
fn a_head_that_is_none_is_refused_and_the_connection_closed() {
    let server = Server::start(&[]);
    let many = "X: x\r\n".repeat(150);
    let json = "Content-Type: application/json\r\n";
    for (bytes, status) in [
        (b"\0\xff\r\n\r\n".to_vec(), 400),
        (
            raw_request("POST /mutate/annotated HTTP/2.0", json, b""),
            400,
        ),
        (raw_request("POST /mutate/annotated", json, b""), 400),
        (raw_request("POST  HTTP/1.1", json, b""), 400),
        (raw_request(LINE, "Content-Length: -1\r\n", b""), 400),
        (
            raw_request(LINE, "Content-Length: 1\r\nContent-Length: 2\r\n", b""),
            400,
        ),
        (raw_request(LINE, "a b: c\r\n", b""), 400),
        (raw_request(LINE, &many, b""), 431),
        (
            raw_request(LINE, &format!("X: {}\r\n", "x".repeat(1024 * 1024)), b""),
            431,
        ),
    ] {
        let mut connection = server.connect();
        let _ = connection.write_all(&bytes);
        let mut words = LastWords(&mut connection);
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
        let refused = answer(&mut words).expect(&start);
        assert_empty(&refused, status);
        // Nothing more comes.
        let mut rest = Vec::new();
        let _ = words.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
    server.assert_serving();
}

#[test]
fn a_connection_is_kept_and_pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    for uid in ["first", "second"] {
        connection
            .write_all(&request("/mutate/annotated", &asking(uid)))
            .expect("the request goes");
        let answer = answer(&mut connection).expect("an answer");
        assert_eq!(answer.response()["uid"], uid);
        assert!(!answer.head.contains("connection:"), "{}", answer.head);
    }
    // Whoever is turned away with a body that is there keeps his connection, too.
    let body = asking("u");
    let length = format!("Content-Length: {}\r\n", body.len());
    connection
        .write_all(&raw_request(LINE, &length, &body))
        .expect("the request goes");
    assert_eq!(answer(&mut connection).expect("an answer").status, 415);
    let uids: Vec<String> = (0..20).map(|n| format!("u-{n}")).collect();
    let at_once: Vec<u8> = uids
        .iter()
        .flat_map(|uid| request("/mutate/annotated", &asking(uid)))
        .collect();
    connection.write_all(&at_once).expect("they go");
    for uid in uids {
        let answer = answer(&mut connection).expect("an answer");
        assert_eq!(
            (answer.status, &answer.response()["uid"]),
            (200, &json!(uid))
        );
    }
    assert!((server.metric("outrigger_connections") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_client_that_leaves_in_the_middle_is_counted_and_forgotten() {
    let server = Server::start(&[]);
    for cut in [0, 1, 100] {
        let mut bytes = request("/mutate/annotated", &asking("u"));
        bytes.truncate(bytes.len() - asking("u").len() + cut);
        let mut connection = server.connect();
        connection.write_all(&bytes).expect("it goes");
        eventually("the request is there", || {
            server.metric("outrigger_requests_in_flight") > 0.0
        });
        drop(connection);
        eventually("the request is gone", || {
            server.metric("outrigger_requests_in_flight") < 1.0
        });
    }
    let mut connection = server.connect();
    let broken = raw_request(
        LINE,
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
        b"zz\r\n",
    );
    connection.write_all(&broken).expect("it goes");
    let mut said = Vec::new();
    let _ = LastWords(&mut connection).read_to_end(&mut said);
    assert!(said.starts_with(b"HTTP/1.1 400 "));
    server.assert_rejected("body-broken", 4);
    server.assert_serving();
}
