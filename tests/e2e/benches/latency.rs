//! What a helper costs whoever creates a Pod: by server dry-run, so that nothing is stored and nothing starts.
//!
//! The same Pod five times, told apart by a label. Nobody changes it; it does not ask, so that the API server looks at our conditions
//! and calls nobody; Outrigger adds a helper; the *floor*, a webhook that decides nothing, answers with the very patch; a
//! `MutatingAdmissionPolicy` does the same in the API server itself. One after the other, so that all see the same minutes of a machine
//! that is shared.
//!
//! `tests/e2e/latency` starts what it needs: `OUTRIGGER`, `FLOOR`, `KUBECONFIG`.

// Tables are what it is for; what is expected is said where it is expected.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::api::PostParams;
use kube::core::Request;
use outrigger_e2e::{Cluster, Space, apply, kubectl, run_with, sidecars, until};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

#[path = "../../../benches/pods.rs"]
mod pods;

const CASES: [&str; 5] = ["nobody", "unasked", "floor", "policy", "outrigger"];
const HELPER: &str = "redis-metrics";
const SIZE: usize = 16 * 1024;
const NAME: &str = "latency.example.com";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--quick") {
        100
    } else {
        2_000
    };
    let cluster = Cluster::connect().await;
    narrow().await;
    let space = cluster.space("latency", json!({})).await;
    let pods = CASES.map(pod);
    let patch = patch(&pods[4]).await;
    let _floor = Floor::start(&patch).await;
    enact(&patch).await;
    for (case, pod) in CASES.iter().zip(&pods) {
        let expected: &[&str] = match *case {
            "nobody" | "unasked" => &[],
            _ => &[HELPER],
        };
        until(&format!("{case} to do its part"), async || {
            let made = space.dry_run(pod).await.expect("a Pod");
            (sidecars(&made) == *expected).then_some(())
        })
        .await;
    }

    let bodies = pods.map(|pod| pod.to_string().into_bytes());
    let size = bodies[0].len() / 1024;
    let mut times = CASES.map(|_| Vec::with_capacity(rounds));
    for round in 0..rounds + rounds / 10 {
        for turn in 0..CASES.len() {
            let case = (round + turn) % CASES.len();
            let time = timed(&space, &bodies[case]).await;
            // The first tenth is for caches to fill.
            if round >= rounds / 10 {
                times[case].push(time);
            }
        }
    }
    println!(
        "A Pod of {size} KiB that gets `{HELPER}`, {rounds} creations each by server dry-run:\n"
    );
    print(times).await;
}

/// Our entries for two of the cases, and nobody's conditions for the others.
async fn narrow() {
    let delete = [
        "delete",
        "mutatingwebhookconfiguration",
        "outrigger-cluster",
    ];
    kubectl(&delete).await.expect("taken out");
    let ours = json!([{"key": "latency", "operator": "In", "values": ["unasked", "outrigger"]}]);
    let patch = json!([{
        "op": "add",
        "path": "/webhooks/0/objectSelector",
        "value": {"matchExpressions": ours},
    }]);
    let entry = "mutatingwebhookconfiguration/outrigger-annotated";
    let patch = ["patch", entry, "--type=json", "--patch", &patch.to_string()];
    kubectl(&patch).await.expect("patched");
}

/// The time that one creation takes.
async fn timed(space: &Space, body: &[u8]) -> Duration {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let path = format!("/api/v1/namespaces/{}/pods", space.name);
    let request = Request::new(path).create(&params, body.to_vec());
    let request = request.expect("a request");
    let started = Instant::now();
    let text = space.cluster.client.request_text(request).await;
    let time = started.elapsed();
    text.expect("a Pod");
    time
}

/// A Pod as its author sends it.
fn pod(case: &str) -> Value {
    let key = match case {
        "outrigger" => "adapter.outrigger.dev/redis-metrics",
        _ => "adapter.example.com/redis-metrics",
    };
    // A third is what the API server itself adds.
    let bytes = pods::pod(SIZE * 3 / 2, &[(key.to_owned(), String::new())]);
    let mut pod: Value = serde_json::from_slice(&bytes).expect("JSON");
    let metadata = pod["metadata"].as_object_mut().expect("a mapping");
    metadata.retain(|key, _| ["annotations", "labels"].contains(&key.as_str()));
    metadata.insert("name".to_owned(), json!("latency"));
    metadata["labels"]["latency"] = json!(case);
    pod
}

/// What Outrigger answers for a Pod.
async fn patch(pod: &Value) -> Value {
    let program = std::env::var("OUTRIGGER").expect("OUTRIGGER names the program");
    let patch = run_with(&program, &["inject", "-f", "-", "-o", "patch"], Some(pod)).await;
    serde_json::from_str(&patch.expect("a patch").stdout).expect("JSON")
}

/// The webhook that always answers with the patch, and its configuration.
struct Floor {
    #[allow(dead_code)] // it serves while it is held
    server: Child,
}

impl Floor {
    async fn start(patch: &Value) -> Self {
        let program =
            std::env::var("FLOOR").expect("FLOOR names the program: run tests/e2e/latency");
        let mut server = Command::new(program)
            .args(["floor", "--patch", &patch.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the floor");
        let mut stdout = BufReader::new(server.stdout.take().expect("a pipe"));
        let mut address = String::new();
        stdout.read_line(&mut address).await.expect("an address");
        let mut certificate = vec![0; 4096];
        let read = stdout.read(&mut certificate).await.expect("a certificate");
        let port = address.trim_end().rsplit_once(':').expect("a port").1;
        apply(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": NAME},
            "webhooks": [{
                "name": NAME,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {
                    "url": format!("https://localhost:{port}/"),
                    "caBundle": BASE64_STANDARD.encode(&certificate[..read]),
                },
                "rules": [rule()],
                "objectSelector": selector("floor"),
            }],
        }))
        .await;
        Self { server }
    }
}

/// The policy that does what the patch does.
async fn enact(patch: &Value) {
    let operations: Vec<String> = patch
        .as_array()
        .expect("a list")
        .iter()
        .map(operation)
        .collect();
    apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [rule()], "objectSelector": selector("policy")},
            "mutations": [{
                "patchType": "JSONPatch",
                "jsonPatch": {"expression": format!("[{}]", operations.join(", "))},
            }],
        },
    }))
    .await;
    apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {"policyName": NAME},
    }))
    .await;
}

fn rule() -> Value {
    json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]})
}

fn selector(case: &str) -> Value {
    json!({"matchLabels": {"latency": case}})
}

/// An operation of a JSON Patch in CEL.
fn operation(operation: &Value) -> String {
    let Value::Object(fields) = operation else {
        panic!("{operation} is no operation");
    };
    let field = |(key, value): (&String, &Value)| match value {
        Value::String(text) if key != "value" => format!("{key}: {}", json!(text)),
        value => format!("{key}: {}", cel(value)),
    };
    let fields: Vec<String> = fields.iter().map(field).collect();
    format!("JSONPatch{{{}}}", fields.join(", "))
}

/// JSON as CEL, where the values of one map or list are of one type.
fn cel(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| format!("dyn({})", cel(item)))
                .collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}: dyn({})", json!(key), cel(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// What the API server itself measured of calls to a webhook, warm-up included: the mean.
async fn calls(webhook: &str) -> Option<Duration> {
    let metrics = kubectl(&["get", "--raw", "/metrics"]).await.ok()?;
    let metric = |part: &str| {
        let series = format!(
            "apiserver_admission_webhook_admission_duration_seconds_{part}{{name=\"{webhook}\",operation=\"CREATE\",rejected=\"false\""
        );
        let line = metrics.lines().find(|line| line.starts_with(&series))?;
        line.rsplit_once(' ')?.1.parse::<f64>().ok()
    };
    Some(Duration::from_secs_f64(metric("sum")? / metric("count")?))
}

async fn print(times: [Vec<Duration>; 5]) {
    let times = times.map(|mut times| {
        times.sort_unstable();
        times
    });
    let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let quantile = |times: &[Duration], percent: usize| {
        times[(times.len() * percent / 100).min(times.len() - 1)]
    };
    println!(
        "| who adds it | p50 | p99 | added to p50 | the call, mean |\n| --- | ---: | ---: | ---: | ---: |"
    );
    let plain = quantile(&times[0], 50);
    for (case, times) in CASES.iter().zip(&times) {
        let [p50, p99] = [50, 99].map(|percent| quantile(times, percent));
        let call = match *case {
            "floor" => calls(NAME).await,
            "outrigger" => calls("annotated.outrigger.dev").await,
            _ => None,
        };
        println!(
            "| {case} | {} | {} | {} | {} |",
            milliseconds(p50),
            milliseconds(p99),
            milliseconds(p50.saturating_sub(plain)),
            call.map(milliseconds).unwrap_or_default()
        );
    }
}
