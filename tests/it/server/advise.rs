//! Advice about workloads: always allowed, never patched, and said when the workload is applied.

use serde_json::{Value, json};

use crate::support::server::{Server, pod};

const PATTERN: &str = "adapter.outrigger.dev/redis-metrics";
const MISSPELT: &str = "adapter.outrigger.dev/redis-metrisc";

/// The creation of a workload called `shop`, with the `response` to it.
fn advice(
    server: &Server,
    api_version: &str,
    kind: &str,
    annotations: Value,
    spec: Value,
) -> Value {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": {"group": group, "version": "v1", "kind": kind},
        "resource": {"group": group, "version": "v1", "resource": format!("{}s", kind.to_lowercase())},
        "name": "shop", "namespace": "shop", "operation": "CREATE",
        "object": {"apiVersion": api_version, "kind": kind, "metadata": {"name": "shop", "annotations": annotations}, "spec": spec}}});
    let answer = server.post("/advise", review.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.response()
}

/// A Pod template with these annotations.
fn template(annotations: Value) -> Value {
    let mut template = pod(&annotations);
    template["metadata"] = json!({"annotations": annotations});
    template
}

/// A `response` with these warnings and nothing else.
fn warning(sentences: &[&str]) -> Value {
    let mut response = json!({"uid": "u", "allowed": true});
    if !sentences.is_empty() {
        response["warnings"] = json!(sentences);
    }
    response
}

#[test]
fn a_workload_is_warned_and_never_refused_or_changed() {
    let server = Server::start(&[]);
    let deployment = |own: Value, template: Value| {
        advice(
            &server,
            "apps/v1",
            "Deployment",
            own,
            json!({"template": template}),
        )
    };
    assert_eq!(
        deployment(json!({}), template(json!({PATTERN: ""}))),
        warning(&[])
    );
    assert_eq!(
        deployment(json!({PATTERN: ""}), template(json!({}))),
        warning(&[
            "outrigger: Deployment shop: annotation `adapter.outrigger.dev/redis-metrics` does nothing here: move it to the annotations of the Pod template"
        ])
    );
    assert_eq!(
        deployment(json!({}), template(json!({MISSPELT: ""}))),
        warning(&[
            "outrigger: its Pods will be denied: annotation `adapter.outrigger.dev/redis-metrisc`: there is no pattern `redis-metrisc`: did you mean `redis-metrics`?"
        ])
    );
    let mut windows = template(json!({PATTERN: ""}));
    windows["spec"]["os"] = json!({"name": "windows"});
    assert_eq!(
        deployment(json!({}), windows),
        warning(&[
            "outrigger: `redis-metrics` is asked for, but the Pod is for Windows, the pattern for Linux"
        ])
    );
    for (template, sentence) in [
        (
            json!(5),
            "outrigger: its Pods will be denied: not a Pod: invalid type: integer `5`, expected a mapping at line 1 column 1",
        ),
        (
            json!({}),
            "outrigger: its Pods will be denied: not a Pod: missing field `spec` at line 1 column 2",
        ),
    ] {
        assert_eq!(deployment(json!({}), template), warning(&[sentence]));
    }
    server.assert_serving();
}

#[test]
fn a_cron_job_is_advised_at_each_of_its_levels() {
    let server = Server::start(&[]);
    let cron_job = |jobs: Value, template: Value| {
        let spec = json!({"jobTemplate": {"metadata": {"annotations": jobs}, "spec": {"template": template}}});
        advice(&server, "batch/v1", "CronJob", json!({}), spec)
    };
    assert_eq!(
        cron_job(json!({}), template(json!({PATTERN: ""}))),
        warning(&[])
    );
    assert_eq!(
        cron_job(json!({PATTERN: ""}), template(json!({MISSPELT: ""}))),
        warning(&[
            "outrigger: CronJob shop: annotation `adapter.outrigger.dev/redis-metrics` does nothing here: move it to the annotations of the Pod template",
            "outrigger: its Pods will be denied: annotation `adapter.outrigger.dev/redis-metrisc`: there is no pattern `redis-metrisc`: did you mean `redis-metrics`?"
        ])
    );
}

#[test]
fn what_has_no_template_gets_no_advice() {
    let server = Server::start(&[]);
    let own = json!({PATTERN: "", MISSPELT: ""});
    assert_eq!(
        advice(&server, "v1", "Service", own.clone(), json!({})),
        warning(&[])
    );
    let foreign = json!({"template": template(own.clone())});
    assert_eq!(
        advice(&server, "example.com/v1", "Deployment", own, foreign),
        warning(&[])
    );
    let ignored =
        server.metric("outrigger_admission_requests_total{webhook=\"advise\",verdict=\"ignored\"}");
    assert!((ignored - 2.0).abs() < f64::EPSILON);
}

#[test]
fn nothing_at_this_door_ends_in_a_refusal() {
    let server = Server::start(&[]);
    let mut review: Value =
        serde_json::from_slice(&crate::support::server::asking("u")).expect("JSON");
    for (operation, object) in [
        ("DELETE", Value::Null),
        ("UPDATE", json!(7)),
        ("CREATE", json!([[], "x", null])),
        (
            "CREATE",
            json!({"apiVersion": "apps/v1", "kind": "Deployment"}),
        ),
        (
            "CREATE",
            json!({"apiVersion": 7, "kind": [], "items": {"x": 5}}),
        ),
        (
            "CREATE",
            json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [null, 5, {"spec": null}]}),
        ),
    ] {
        review["request"]["operation"] = json!(operation);
        review["request"]["object"] = object;
        let answer = server.post("/advise", review.to_string().as_bytes());
        assert_eq!(
            (answer.status, answer.response()),
            (200, warning(&[])),
            "{review}"
        );
    }
    // Deeper than a parser may go: judged by the API server, not by us.
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let review = review.to_string().replace("null", &deep);
    let answer = server.post("/advise", review.as_bytes());
    assert_eq!((answer.status, answer.response()), (200, warning(&[])));
    server.assert_serving();
}

#[test]
fn hostile_names_give_few_short_lines() {
    let server = Server::start(&[]);
    let own: serde_json::Map<String, Value> = (0..50)
        .map(|n| {
            (
                format!("sidecar.outrigger.dev/\u{1b}[2J{n}\r\n\u{85}x"),
                json!(""),
            )
        })
        .collect();
    let response = advice(
        &server,
        "apps/v1",
        "Deployment",
        Value::Object(own),
        json!({"template": template(json!({MISSPELT: ""}))}),
    );
    let warnings = response["warnings"].as_array().expect("warnings");
    assert_eq!((&response["allowed"], warnings.len()), (&json!(true), 5));
    assert_eq!(
        warnings[0],
        "outrigger: Deployment shop: annotation `sidecar.outrigger.dev/ [2J0   x` does nothing here: move it to the annotations of the Pod template"
    );
    assert_eq!(
        warnings[4],
        "outrigger: 47 more warnings; `outrigger explain -f` shows them all"
    );
}
