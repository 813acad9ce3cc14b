//! AdmissionReview v1: what is answered to what.

use std::cell::RefCell;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::read;
use crate::support::server::{Server, answer, asking, eventually, pod, put, request, review};

const DOORS: [&str; 3] = ["/mutate/annotated", "/mutate/namespace", "/mutate/cluster"];
const PATTERN: &str = "adapter.outrigger.dev/redis-metrics";

/// The shortest answer, byte for byte.
fn untouched(uid: &str) -> String {
    format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{uid}","allowed":true}}}}"#
    )
}

/// The answer to a review of this Pod, with status 200.
fn answered(server: &Server, pod: &Value) -> String {
    let answer = server.post(DOORS[0], review("u", pod).to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// The Pod after the patch in `response`, applied by other hands than ours.
fn patched(pod: &Value, response: &Value) -> Value {
    let patch = STANDARD
        .decode(response["patch"].as_str().expect("a patch"))
        .expect("base64");
    let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("RFC 6902");
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).expect("the patch applies");
    pod
}

#[test]
fn a_pod_that_asks_gets_a_patch_through_every_door() {
    let server = Server::start(&[]);
    let pod = pod(&json!({"adapter.outrigger.dev/redis-metrics": ""}));
    let mut answers = Vec::new();
    for door in ["annotated", "namespace", "cluster"] {
        let path = format!("/mutate/{door}?timeout=10s");
        let answer = server.post(&path, review("u-1", &pod).to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.head.contains("content-type: application/json"));
        let response = answer.response();
        assert_eq!(
            (
                &response["uid"],
                &response["allowed"],
                &response["patchType"]
            ),
            (&json!("u-1"), &json!(true), &json!("JSONPatch"))
        );
        assert_eq!(
            patched(&pod, &response)["spec"]["initContainers"][0]["name"],
            "redis-metrics"
        );
        assert_eq!(
            response["auditAnnotations"],
            json!({"decision": "injected", "instances": "redis-metrics=injected/asked"})
        );
        let counted = format!(
            "outrigger_admission_requests_total{{webhook=\"{door}\",verdict=\"injected\"}}"
        );
        assert!((server.metric(&counted) - 1.0).abs() < f64::EPSILON);
        answers.push(response);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn the_example_is_answered_with_a_patch() {
    let server = Server::start(&[]);
    let review = read("examples/review.json");
    let response = server
        .post("/mutate/annotated", review.as_bytes())
        .response();
    let review: Value = serde_json::from_str(&review).expect("JSON");
    let after = patched(&review["request"]["object"], &response);
    let names: Vec<_> = after["spec"]["initContainers"]
        .as_array()
        .expect("init containers")
        .iter()
        .map(|container| &container["name"])
        .collect();
    assert_eq!(names, ["https", "redis-metrics"]);
}

#[test]
fn a_dry_run_is_answered_like_the_real_thing() {
    let server = Server::start(&[]);
    let mut dry: Value = serde_json::from_slice(&asking("u")).expect("JSON");
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(
        server
            .post("/mutate/annotated", dry.to_string().as_bytes())
            .body,
        server.post("/mutate/annotated", &asking("u")).body
    );
}

#[test]
fn only_the_creation_of_a_pod_is_looked_at() {
    let server = Server::start(&[]);
    let creation: Value = serde_json::from_slice(&asking("u")).expect("JSON");
    let other = [
        json!({"operation": "UPDATE", "oldObject": creation["request"]["object"]}),
        json!({"operation": "DELETE", "object": null, "oldObject": creation["request"]["object"]}),
        json!({"operation": "CONNECT", "subResource": "attach", "object": {"kind": "PodAttachOptions", "apiVersion": "v1"}}),
        json!({"operation": "UPDATE", "subResource": "ephemeralcontainers"}),
        json!({"operation": "UPDATE", "subResource": "resize"}),
        json!({"operation": "CREATE", "subResource": "binding"}),
        json!({"operation": "create"}),
        json!({"operation": ""}),
        json!({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "resource": {"group": "apps", "version": "v1", "resource": "deployments"}}),
        json!({"kind": {"group": "", "version": "v2", "kind": "Pod"}}),
        json!({"kind": {"group": "example.com", "version": "v1", "kind": "Pod"}}),
        json!({"resource": {"group": "", "version": "v1", "resource": "podtemplates"}}),
    ];
    for door in DOORS {
        for fields in &other {
            let mut review = creation.clone();
            for (key, value) in fields.as_object().expect("fields") {
                review["request"][key] = value.clone();
            }
            let answer = server.post(door, review.to_string().as_bytes());
            assert_eq!(
                (answer.status, answer.text()),
                (200, untouched("u")),
                "{fields}"
            );
        }
        let counted = format!(
            "outrigger_admission_requests_total{{webhook=\"{}\",verdict=\"ignored\"}}",
            door.trim_start_matches("/mutate/")
        );
        assert!((server.metric(&counted) - 12.0).abs() < f64::EPSILON);
    }
    server.assert_serving();
}

#[test]
fn a_pod_that_wants_nothing_gets_the_shortest_answer() {
    let server = Server::start(&[]);
    for annotations in [
        json!({}),
        Value::Null,
        json!({"example.com/redis-metrics": ""}),
    ] {
        assert_eq!(answered(&server, &pod(&annotations)), untouched("u"));
    }
}

#[test]
fn a_denial_says_what_was_meant() {
    let server = Server::start(&[]);
    assert_eq!(
        answered(&server, &pod(&json!({"adapter.outrigger.dev/redis-metrisc": ""}))),
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u","allowed":false,"#.to_owned()
            + r#""status":{"code":400,"reason":"BadRequest","message":"annotation `adapter.outrigger.dev/redis-metrisc`: there is no pattern `redis-metrisc`: did you mean `redis-metrics`?"},"#
            + r#""auditAnnotations":{"decision":"denied","instances":"redis-metrisc=denied/unknown-pattern"}}}"#
    );
    // What the Pod says goes to whoever sent it, and nowhere else.
    server.line("reviewed");
    assert!(!server.whole_log().contains("did you mean"));
    let metrics = server.get("/metrics").text();
    assert!(!metrics.contains("redis-metrisc"), "{metrics}");
    server.assert_serving();
}

#[test]
fn mirror_pods_are_never_changed() {
    let server = Server::start(&[]);
    let mirror = pod(&json!({PATTERN: "", "kubernetes.io/config.mirror": "0"}));
    let response = json!({"uid": "u", "allowed": true, "auditAnnotations": {
        "decision": "unchanged", "instances": "adapter.outrigger.dev/redis-metrics=skipped/mirror-pod"}});
    let answer: Value = serde_json::from_str(&answered(&server, &mirror)).expect("JSON");
    assert_eq!(answer["response"], response);
}

#[test]
fn a_pod_for_windows_is_warned() {
    let server = Server::start(&[]);
    let mut windows = pod(&json!({PATTERN: ""}));
    windows["spec"]["os"] = json!({"name": "windows"});
    let response = json!({"uid": "u", "allowed": true,
        "warnings": ["outrigger: `redis-metrics` is asked for, but the Pod is for Windows, the pattern for Linux"],
        "auditAnnotations": {"decision": "unchanged", "instances": "redis-metrics=skipped/windows-pod"}});
    let answer: Value = serde_json::from_str(&answered(&server, &windows)).expect("JSON");
    assert_eq!(answer["response"], response);
}

#[test]
fn names_and_namespaces_may_be_missing() {
    let server = Server::start(&[]);
    let plain = server.post(DOORS[0], &asking("u")).body;
    let mut review: Value = serde_json::from_slice(&asking("u")).expect("JSON");
    let assert_logged = |name: &str, namespace: &str| {
        eventually(&format!("a line about `{name}` in `{namespace}`"), || {
            server.log().lines().any(|line| {
                let line: Value = serde_json::from_str(line).expect("JSON");
                line["message"] == "reviewed"
                    && line["name"] == name
                    && line["namespace"] == namespace
            })
        });
    };
    // The name comes from `generateName`, and the namespace from the request, once they are known.
    assert_logged("shop-", "shop");
    review["request"]["object"]["metadata"]["namespace"] = json!("");
    assert_eq!(
        server.post(DOORS[0], review.to_string().as_bytes()).body,
        plain
    );
    review["request"]["name"] = json!("shop-1");
    review["request"]["namespace"] = json!("");
    assert_eq!(
        server.post(DOORS[0], review.to_string().as_bytes()).body,
        plain
    );
    assert_logged("shop-1", "");
    let request = review["request"].as_object_mut().expect("a mapping");
    request.remove("name");
    request.remove("namespace");
    request.remove("dryRun");
    let metadata = review["request"]["object"]["metadata"].as_object_mut();
    metadata.expect("a mapping").remove("generateName");
    assert_eq!(
        server.post(DOORS[0], review.to_string().as_bytes()).body,
        plain
    );
    assert_logged("", "");
}

#[test]
fn an_older_review_is_refused_under_its_uid() {
    let server = Server::start(&[]);
    let mut beta: Value = serde_json::from_slice(&asking("u")).expect("JSON");
    beta["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let answer = server.post(DOORS[0], beta.to_string().as_bytes());
    assert_eq!(answer.status, 400);
    assert!(answer.head.contains("content-type: application/json"));
    assert_eq!(
        answer.response(),
        json!({"uid": "u", "allowed": false, "status": {"code": 400, "reason": "BadRequest",
            "message": "expected apiVersion `admission.k8s.io/v1` and kind `AdmissionReview`, found `admission.k8s.io/v1beta1` and `AdmissionReview`"}})
    );
    server.assert_serving();
}

#[test]
fn warnings_are_few_short_and_plain_whatever_is_offered() {
    let directory = tempfile::tempdir().expect("a directory");
    let hostile = "\u{1b}[2J\r\nforged: \u{85}\u{9f}ä\u{1f600}";
    let offers: serde_json::Map<String, Value> = (0..40)
        .map(|n| {
            let value = format!("{{{}: 1}}", json!(hostile.repeat(1 + n)));
            (format!("{PATTERN}.{n}"), json!(value))
        })
        .collect();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "shop", "labels": {"outrigger.dev/injection": "enabled"}, "annotations": offers}});
    // YAML knows these two by their escapes only.
    let namespace = namespace.to_string().replace('\u{85}', "\\u0085");
    put(
        directory.path().join("shop.json"),
        &namespace.replace('\u{9f}', "\\u009f"),
    );
    let server = Server::start(&["--context", directory.path().to_str().expect("UTF-8")]);
    let response: Value = serde_json::from_str(&answered(&server, &pod(&json!({})))).expect("JSON");
    let response = &response["response"];
    let warnings = response["warnings"].as_array().expect("warnings");
    assert_eq!((&response["allowed"], warnings.len()), (&json!(true), 5));
    for warning in warnings {
        let warning = warning.as_str().expect("a text");
        assert!(warning.chars().count() <= 120, "{warning}");
        assert!(!warning.contains(char::is_control), "{warning:?}");
        assert!(warning.starts_with("outrigger: "), "{warning}");
    }
    assert_eq!(
        warnings[4],
        "outrigger: 36 more warnings; `outrigger explain -f` shows them all"
    );
    let audit = response["auditAnnotations"]["instances"]
        .as_str()
        .expect("codes");
    assert!(audit.chars().count() <= 1024 && !audit.contains(char::is_control));
}

#[test]
fn every_uid_comes_back() {
    let server = Server::start(&[]);
    let connection = RefCell::new(server.connect());
    let mut runner = TestRunner::new(Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let odd = prop_oneof![
        any::<String>(),
        "\\PC{1,300}",
        "[\\x00-\\x1f\"\\\\/\u{7f}\u{2028}\u{feff}\u{10ffff}]{1,20}"
    ];
    let law = runner.run(&odd, |uid| {
        let mut connection = connection.borrow_mut();
        let bytes = request(DOORS[0], &asking(&uid));
        connection.write_all(&bytes).expect("the request goes");
        let answer = answer(&mut *connection).expect("an answer");
        if uid.is_empty() {
            prop_assert_eq!(answer.status, 400);
        } else {
            prop_assert_eq!(answer.status, 200);
            prop_assert_eq!(&answer.response()["uid"], &json!(uid));
        }
        Ok(())
    });
    law.expect("the uid comes back");
    for line in server.whole_log().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}
