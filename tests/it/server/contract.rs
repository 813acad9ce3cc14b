//! AdmissionReview v1: what is answered to what.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::read;
use crate::support::server::{Server, asking, pod, review};

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
