//! A review as it goes over the wire, and what its answer has to be.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::json;

/// The API server always names its deadline.
const PATH: &str = "/mutate/annotated?timeout=10s";
/// Stands for the uid until the review is sent; as long as every other.
const NO_UID: &str = "00000000-0000-4000-8000-000000000000";

/// The bytes of an HTTP request that asks for the review of one Pod. Each time it is sent, a new uid is written over the old one, so
/// that the client does not build anything while it measures.
#[derive(Clone)]
pub(crate) struct Review {
    request: Vec<u8>,
    uid_at: usize,
}

impl Review {
    /// As an API server sends it when a `ReplicaSet` makes this Pod.
    pub(crate) fn new(pod: &[u8]) -> Self {
        let request = json!({
            "uid": NO_UID,
            "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"}, "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop", "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "3c1f6a1e-0000-4000-8000-000000000000",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]},
            "object": null, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
        });
        let pod = String::from_utf8_lossy(pod);
        let request =
            request
                .to_string()
                .replacen(r#""object":null"#, &format!(r#""object":{pod}"#), 1);
        let body = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{request}}}"#
        );
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-apiserver-admission\r\n\
             Content-Length: {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n\r\n",
            body.len()
        );
        let request = head + &body;
        // The first one: the request's own stands before the Pod.
        let uid_at = request.find(NO_UID).expect("the uid just written");
        Self {
            request: request.into_bytes(),
            uid_at,
        }
    }

    /// Gives it a uid that no review of this process had, and says which.
    pub(crate) fn renew(&mut self) -> String {
        static SENT: AtomicU64 = AtomicU64::new(1);
        let number = SENT.fetch_add(1, Ordering::Relaxed);
        let uid = format!("00000000-0000-4000-8000-{number:012x}");
        self.request[self.uid_at..][..uid.len()].copy_from_slice(uid.as_bytes());
        uid
    }

    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    response: Response<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    allowed: bool,
    #[serde(borrow)]
    patch_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    patch: Option<Cow<'a, str>>,
}

/// The answer allows the Pod, to this review, with a patch. What the patch says is for the tests to judge.
pub(crate) fn check(body: &[u8], asked: &str) -> anyhow::Result<()> {
    let text = || String::from_utf8_lossy(body);
    let answer: Answer = serde_json::from_slice(body)
        .with_context(|| format!("the answer is no AdmissionReview: {}", text()))?;
    let Response {
        uid,
        allowed,
        patch_type,
        patch,
    } = answer.response;
    ensure!(
        uid == asked,
        "review `{asked}` was answered as if it were `{uid}`"
    );
    ensure!(allowed, "the Pod was refused: {}", text());
    ensure!(
        patch.is_some_and(|patch| !patch.is_empty()) && patch_type.as_deref() == Some("JSONPatch"),
        "the answer has no patch: {}",
        text()
    );
    Ok(())
}
