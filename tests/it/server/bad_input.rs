//! Bad input over the wire: what is answered to it, and that the server goes on as if nothing had been.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::server::{
    Answer, LastWords, Server, answer, asking, exchange, pod, raw_request, request, review,
};

const DOOR: &str = "/mutate/annotated";
const PATTERN: &str = "adapter.outrigger.dev/redis-metrics";
/// Its annotation in [`asking`].
const EMPTY: &str = "\"adapter.outrigger.dev/redis-metrics\":\"\"";
const JSON: &str = "Content-Type: application/json\r\n";
/// `MAX_BODY`.
const LIMIT: usize = 7 * 1024 * 1024;

/// The whole answer that refuses `uid` with `message`, unread or denied.
fn refusal(uid: &str, message: &str) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
        "uid": uid, "allowed": false, "status": {"code": 400, "reason": "BadRequest", "message": message}}})
}

/// A request with these headers besides `Host`, over a connection of its own.
fn send(server: &Server, line: &str, headers: &str, body: &[u8]) -> Answer {
    exchange(server.connect(), &raw_request(line, headers, body))
}

/// Sends what the server may stop to read, and reads its answer.
fn send_against_its_will(server: &Server, bytes: &[u8]) -> Answer {
    let mut connection = server.connect();
    let _ = connection.write_all(bytes);
    answer(&mut LastWords(&mut connection)).expect("an answer")
}

/// A status without a body.
#[track_caller]
fn assert_empty(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.text().as_str()), (status, ""));
    assert!(!answer.head.contains("content-type"), "{}", answer.head);
}

#[test]
fn a_body_that_is_no_review_is_answered_with_the_sentence_alone() {
    let server = Server::start(&[]);
    let not = "the body is not an AdmissionReview: ";
    let neither =
        "expected apiVersion `admission.k8s.io/v1` and kind `AdmissionReview`, found `` and ``";
    for (body, sentence) in [
        (
            &b""[..],
            format!("{not}EOF while parsing a value at line 1 column 0"),
        ),
        (b"hello", format!("{not}expected value at line 1 column 1")),
        (
            b"{",
            format!("{not}EOF while parsing an object at line 1 column 1"),
        ),
        (
            b"{}}",
            format!("{not}trailing characters at line 1 column 3"),
        ),
        (
            b"null",
            format!("{not}invalid type: null, expected a mapping at line 1 column 4"),
        ),
        (
            b"\"x\"",
            format!("{not}invalid type: string \"x\", expected a mapping at line 1 column 3"),
        ),
        (b"{}", neither.to_owned()),
        (
            b"{\"apiVersion\":\"\xff\"}",
            "the body is not UTF-8".to_owned(),
        ),
    ] {
        let answer = server.post(DOOR, body);
        assert_eq!(
            (answer.status, answer.text()),
            (400, format!("{sentence}\n"))
        );
        assert!(
            answer
                .head
                .contains("content-type: text/plain; charset=utf-8")
        );
    }
    let counted =
        "outrigger_admission_requests_total{webhook=\"annotated\",verdict=\"unreadable\"}";
    assert!((server.metric(counted) - 8.0).abs() < f64::EPSILON);
    server.assert_serving();
}

#[test]
fn a_review_that_lacks_something_is_told_what() {
    let server = Server::start(&[]);
    let good: Value = serde_json::from_slice(&asking("u")).expect("JSON");
    let with = |path: &str, value: Value| {
        let mut review = good.clone();
        *review.pointer_mut(path).expect("a field") = value;
        server.post(DOOR, review.to_string().as_bytes())
    };
    let expected = "expected apiVersion `admission.k8s.io/v1` and kind `AdmissionReview`, found";
    for (answer, message) in [
        (
            with("/kind", json!("Pod")),
            format!("{expected} `admission.k8s.io/v1` and `Pod`"),
        ),
        (
            with("/apiVersion", json!("v1\n\u{1b}")),
            format!("{expected} `v1  ` and `AdmissionReview`"),
        ),
        (
            with("/apiVersion", json!("x".repeat(5000))),
            format!("{expected} `{}…` and `AdmissionReview`", "x".repeat(59)),
        ),
    ] {
        assert_eq!(
            (answer.status, answer.json()),
            (400, refusal("u", &message))
        );
    }
    for (answer, sentence) in [
        (
            with("/request", Value::Null),
            "the review has no `request`\n",
        ),
        (
            with("/request", json!({})),
            "the review has no `request.uid`\n",
        ),
        (
            with("/request/uid", json!("")),
            "the review has no `request.uid`\n",
        ),
    ] {
        assert_eq!((answer.status, answer.text().as_str()), (400, sentence));
    }
    // Nothing is created, so there is nothing to refuse.
    let nothing = with("/request/object", Value::Null);
    assert_eq!(
        (nothing.status, nothing.response()),
        (200, json!({"uid": "u", "allowed": true}))
    );
    server.assert_serving();
}

#[test]
fn a_pod_of_the_wrong_shape_is_denied() {
    let server = Server::start(&[]);
    for (pod, message) in [
        (
            json!("x"),
            "invalid type: string \"x\", expected a mapping at line 1 column 3",
        ),
        (json!({}), "missing field `spec` at line 1 column 2"),
        (
            json!({"spec": null}),
            "at `spec`: invalid type: null, expected a mapping at line 1 column 12",
        ),
        (
            json!({"spec": {}}),
            "at `spec`: missing field `containers` at line 1 column 10",
        ),
        (
            json!({"metadata": {"annotations": []}, "spec": {"containers": []}}),
            "at `metadata.annotations`: invalid type: sequence, expected a mapping of strings at line 1 column 27",
        ),
    ] {
        let answer = server.post(DOOR, review("u", &pod).to_string().as_bytes());
        assert_eq!(
            (answer.status, answer.json()),
            (200, refusal("u", &format!("not a Pod: {message}"))),
            "{pod}"
        );
    }
    server.assert_serving();
}

#[test]
fn a_list_is_no_mapping() {
    let server = Server::start(&[]);
    let pod = pod(&json!({PATTERN: ""}));
    // Its parts in the order in which they are read.
    for pod in [
        json!([]),
        json!([pod.clone()]),
        json!([pod["metadata"], pod["spec"]]),
    ] {
        let answer = server.post(DOOR, review("u", &pod).to_string().as_bytes());
        let response = answer.response();
        assert_eq!(
            (answer.status, &response["uid"], &response["allowed"]),
            (200, &json!("u"), &json!(false)),
            "{pod}"
        );
        let message = response["status"]["message"].as_str().expect("a sentence");
        assert!(message.starts_with("not a Pod: "), "{message}");
    }
    let request = review("u", &pod)["request"].take();
    for review in [
        json!([]),
        json!(["admission.k8s.io/v1", "AdmissionReview", request]),
    ] {
        let answer = server.post(DOOR, review.to_string().as_bytes());
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(
            answer
                .text()
                .starts_with("the body is not an AdmissionReview: ")
        );
    }
    server.assert_serving();
}

#[test]
fn depth_costs_nothing() {
    let server = Server::start(&[]);
    let good = String::from_utf8(asking("u")).expect("UTF-8");
    let plain = server.post(DOOR, good.as_bytes()).body;
    for deep in [
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)),
    ] {
        for (before, field) in [
            // The top of the review, the request, the Pod, its metadata, its spec, its container.
            ("\"request\":", "x"),
            ("\"uid\":", "x"),
            ("\"metadata\":", "x"),
            ("\"annotations\":", "managedFields"),
            ("\"containers\":", "affinity"),
            ("\"image\":", "x"),
        ] {
            let body = good.replacen(before, &format!("\"{field}\":{deep},{before}"), 1);
            assert!(body.len() > good.len());
            assert!(server.post(DOOR, body.as_bytes()).body == plain, "{before}");
        }
        let label = format!("\"labels\":{{\"x\":{deep}}},\"annotations\":");
        let body = good.replacen("\"annotations\":", &label, 1);
        assert_eq!(
            server.post(DOOR, body.as_bytes()).response()["allowed"],
            true
        );
        let answer = server.post(DOOR, deep.as_bytes());
        assert_eq!(answer.status, 400);
        // As an annotation of ours, it is quoted up to a point.
        let body = good.replacen(EMPTY, &format!("\"{PATTERN}\":{deep}"), 1);
        let message = server.post(DOOR, body.as_bytes()).response()["status"]["message"].take();
        let message = message.as_str().expect("a sentence");
        assert!(message.starts_with("annotation `adapter.outrigger.dev/redis-metrics` is `"));
        assert!(message.ends_with("…`, expected a string: put single quotes around it"));
    }
    server.assert_serving();
}

#[test]
fn a_body_is_read_up_to_seven_mebibytes() {
    let server = Server::start(&[]);
    // At the limit it is read, and judged by its first byte.
    let brackets = vec![b'['; LIMIT];
    let answer = server.post(DOOR, &brackets);
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .text()
            .starts_with("the body is not an AdmissionReview: ")
    );
    // A review of that size is answered.
    let mut padded = asking("u");
    padded.resize(LIMIT, b' ');
    assert_eq!(
        server.post(DOOR, &padded).response()["patchType"],
        "JSONPatch"
    );
    // Beyond it the announcement is enough, whether the body comes or not.
    let head = format!("{JSON}Content-Length: {}\r\n", LIMIT + 1);
    let line = format!("POST {DOOR} HTTP/1.1");
    assert_empty(&send(&server, &line, &head, b""), 413);
    let eight = vec![b'['; 8 * 1024 * 1024];
    assert_empty(&send_against_its_will(&server, &request(DOOR, &eight)), 413);
    // What is not announced is counted.
    let chunk = format!("{JSON}Transfer-Encoding: chunked\r\n");
    let chunked = [
        format!("{:x}\r\n", eight.len()).as_bytes(),
        &eight,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let bytes = raw_request(&line, &chunk, &chunked);
    assert_empty(&send_against_its_will(&server, &bytes), 413);
    server.assert_rejected("body-too-large", 3);
    // Chunks as such are fine.
    let body = asking("u");
    let chunked = [
        format!("{:x}\r\n", body.len()).as_bytes(),
        &body,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    assert_eq!(
        send(&server, &line, &chunk, &chunked).response()["patchType"],
        "JSONPatch"
    );
    server.assert_serving();
}

#[test]
fn escapes_and_control_characters_stay_where_they_were() {
    let server = Server::start(&[]);
    let good = String::from_utf8(asking("u")).expect("UTF-8");
    let with = |value: &str| {
        let body = good.replacen(EMPTY, &format!("\"{PATTERN}\":\"{value}\""), 1);
        server.post(DOOR, body.as_bytes())
    };
    // What is no JSON is no review.
    for (value, sentence) in [
        ("\\uZZZZ", "invalid escape"),
        ("\\x", "invalid escape"),
        (
            "\u{1}",
            "control character (\\u0000-\\u001F) found while parsing a string",
        ),
    ] {
        let answer = with(value);
        assert_eq!(answer.status, 400);
        let expected = format!("the body is not an AdmissionReview: {sentence} at line 1 column ");
        assert!(answer.text().starts_with(&expected), "{}", answer.text());
    }
    // Half a surrogate pair is JSON and no text.
    assert_eq!(
        with("\\ud800").response()["status"]["message"],
        "annotation `adapter.outrigger.dev/redis-metrics` is `\"\\ud800\"`, expected a string: put single quotes around it"
    );
    for value in [
        "\\u0000",
        "\\u001b[2J",
        "{address: \\\"\\u0007\\r\\nX: y\\\"}",
        "{\\u2028: 1}",
    ] {
        let response = with(value).response();
        assert_eq!(response["allowed"], false, "{value}");
        let message = response["status"]["message"].as_str().expect("a sentence");
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(message.starts_with("annotation `adapter.outrigger.dev/redis-metrics`"));
    }
    for line in server.whole_log().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    server.assert_serving();
}

#[test]
fn a_long_annotation_of_ours_is_too_long_and_of_others_is_theirs() {
    let server = Server::start(&[]);
    let response = |annotations: Value| {
        let answer = server.post(DOOR, review("u", &pod(&annotations)).to_string().as_bytes());
        assert_eq!(answer.status, 200);
        answer.response()
    };
    for long in ["x", "[", "{"] {
        let denied = response(json!({PATTERN: long.repeat(255 * 1024)}));
        assert_eq!(
            denied["status"]["message"],
            "annotation `adapter.outrigger.dev/redis-metrics` is 261120 bytes long, expected at most 65536"
        );
    }
    let deep = response(json!({PATTERN: "[".repeat(60_000)}));
    let message = deep["status"]["message"].as_str().expect("a sentence");
    assert!(
        message.contains(" is not YAML at line 1, column 256: nested too deep in `[[["),
        "{message}"
    );
    let foreign = response(json!({PATTERN: "", "example.com/x": "x".repeat(255 * 1024)}));
    assert_eq!(foreign["patchType"], "JSONPatch");
    server.assert_serving();
}
