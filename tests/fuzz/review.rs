//! The webhook's answer to any body: 400 and never a permission, or 200 and a whole AdmissionReview.

use std::sync::LazyLock;

use axum::body::{Body, to_bytes};
use axum::http::{Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger::server;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::laws::{applied, spoken};
use crate::pods;

type Webhook = Box<dyn Fn(&str, &[u8]) -> Option<Response<Body>> + Send + Sync>;

/// It says everything it has to say to nobody, so that saying it is tried, too.
static WEBHOOK: LazyLock<Webhook> = LazyLock::new(|| {
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::sink)
        .init();
    Box::new(server::answers(pods::catalog()).expect("a webhook"))
});

/// Answers are of one piece; nothing waits here.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));

/// Warnings of one answer.
const WARNINGS: usize = 5;

/// Posts `body` where Pods go and where workloads go.
pub(crate) fn holds(body: &[u8]) {
    let review: Option<Value> = serde_json::from_slice(body).ok();
    for path in ["/mutate/cluster", "/advise"] {
        let (status, answer) = post(path, body);
        match status {
            StatusCode::BAD_REQUEST => refused(&answer),
            StatusCode::OK => answered(path, review.as_ref(), &answer),
            other => panic!("{other} for {path}"),
        }
    }
}

fn post(path: &str, body: &[u8]) -> (StatusCode, Vec<u8>) {
    let response = WEBHOOK(path, body).expect("a door");
    let status = response.status();
    let body = RUNTIME.block_on(to_bytes(response.into_body(), usize::MAX));
    (status, body.expect("a body").to_vec())
}

/// A review that says no, or a sentence.
fn refused(answer: &[u8]) {
    let text = std::str::from_utf8(answer).expect("UTF-8");
    match serde_json::from_str::<Value>(text) {
        Ok(answer) => denied(&answer["response"]),
        Err(_) => spoken(text.trim_end_matches('\n')),
    }
}

fn denied(response: &Value) {
    assert_eq!(response["allowed"], false);
    assert!(response.get("patch").is_none(), "denied, with a patch");
    spoken(response["status"]["message"].as_str().expect("a sentence"));
}

/// `review` is what was asked, read by somebody else; `None` where it nests too deep for that.
fn answered(path: &str, review: Option<&Value>, answer: &[u8]) {
    let answer: Value = serde_json::from_slice(answer).expect("JSON");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    let response = &answer["response"];
    if let Some(review) = review {
        assert_eq!(response["uid"], review["request"]["uid"]);
    }
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let warning = warning.as_str().expect("a string");
        spoken(warning);
        // What `k8s.io/api/admission/v1` asks for, and where the API server may cut.
        let limit = if path == "/advise" { 256 } else { 120 };
        assert!(warning.chars().count() <= limit, "{warning}");
    }
    let warnings = response["warnings"].as_array().map_or(0, Vec::len);
    assert!(warnings <= WARNINGS, "{warnings} warnings");
    if response["allowed"] != true {
        assert_ne!(path, "/advise", "advice that refuses");
        return denied(response);
    }
    assert_eq!(
        response.get("patch").is_some(),
        response.get("patchType").is_some()
    );
    if let Some(patch) = response.get("patch") {
        assert_ne!(path, "/advise", "advice that changes");
        let text = patch.as_str().expect("a string");
        let json = STANDARD.decode(text).expect("base64");
        if let Some(review) = review {
            assert_eq!(review["request"]["operation"], "CREATE");
            assert_eq!(review["request"]["kind"]["kind"], "Pod");
            applied(&json, &review["request"]["object"]);
        }
    }
}
