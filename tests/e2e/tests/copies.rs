//! Copies of injected Pods: with their annotations they are as good as the original, without them they would hang.

use outrigger_e2e::{BUSYBOX, Cluster, Space, binding, calm, pattern, pod, run_with, sidecars};
use serde_json::{Value, json};

const DENIED: &str = "Error from server (BadRequest): admission webhook \"annotated.outrigger.dev\" denied the request: ";

/// A pattern with a file, which a copy without annotations would wait for, and with probes.
fn filed() -> Value {
    let mut pattern = pattern("sleepy");
    let spec = &mut pattern["spec"];
    spec["files"] = json!({"greeting": "hello\n"});
    spec["podMetadata"] = json!({"annotations": {"example.com/greets": "yes"}});
    let probe =
        json!({"exec": {"command": ["test", "-s", "/etc/outrigger/greeting"]}, "periodSeconds": 1});
    spec["containers"][0]["startupProbe"] = probe.clone();
    spec["containers"][0]["readinessProbe"] = probe;
    pattern
}

/// A Pod that asks for it, once it runs.
async fn original(space: &Space) -> Value {
    let asks = pod("original", json!({"sidecar.outrigger.dev/sleepy": ""}));
    space.create(&asks).await.expect("a Pod");
    space.ready("original").await
}

/// `kubectl debug POD --copy-to=COPY` with a container of the copy's name beside the others, which nobody is attached to.
async fn debug(space: &Space, pod: &str, copy: &str, flags: &[&str]) -> Result<(), String> {
    let to = format!("--copy-to={copy}");
    let image = format!("--image={BUSYBOX}");
    let container = format!("--container={copy}");
    let debug = ["debug", pod, &to, &image, &container, "--attach=false"];
    let command = ["--", "sleep", "100000"];
    let args = [&debug, flags, &command].concat();
    space.kubectl(&args).await.map(drop)
}

/// Annotations, volumes and helpers: what a copy has to have of its original.
fn ours(pod: &Value) -> Value {
    let ours = |text: &str| text.contains("outrigger") || text.contains("example.com/");
    let annotations = pod["metadata"]["annotations"].as_object();
    let annotations: Vec<_> = annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| ours(key))
        .collect();
    let volumes = pod["spec"]["volumes"].as_array();
    let volumes: Vec<_> = volumes
        .into_iter()
        .flatten()
        .filter(|volume| volume["name"].as_str().is_some_and(ours))
        .collect();
    json!({"annotations": annotations, "volumes": volumes, "helpers": pod["spec"]["initContainers"]})
}

fn containers(pod: &Value) -> Vec<&str> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    containers
        .filter_map(|container| container["name"].as_str())
        .collect()
}

#[tokio::test]
async fn kubectl_debug_copies_a_pod_with_its_annotations_or_not_at_all() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-copies", json!({})).await;
    space.define(&filed()).await;
    let original = original(&space).await;

    let hint = "volume `outrigger-sleepy-files` is one of Outrigger's, but annotation `outrigger.dev/status` does not record it: a copy made without its annotations would hang; use `kubectl debug --copy-to … --keep-annotations`, or `outrigger uninject` before copying";
    let without = debug(&space, "original", "without", &[]).await;
    assert_eq!(without, Err(format!("{DENIED}{hint}\n")));
    assert_eq!(space.get("v1", "Pod", "without").await, None);

    let keep = ["--keep-annotations"];
    debug(&space, "original", "copy", &keep)
        .await
        .expect("a copy");
    let copy = space.ready("copy").await;
    assert_eq!(sidecars(&copy), ["sleepy"]);
    assert_eq!(containers(&copy), ["app", "copy"]);
    assert_eq!(ours(&copy), ours(&original));
    let read = [
        "exec",
        "copy",
        "-c",
        "sleepy",
        "--",
        "cat",
        "/etc/outrigger/greeting",
    ];
    assert_eq!(space.kubectl(&read).await.expect("a file"), "hello\n");

    debug(&space, "copy", "second", &keep)
        .await
        .expect("a copy of a copy");
    let second = space.ready("second").await;
    assert_eq!(containers(&second), ["app", "copy", "second"]);
    assert_eq!(ours(&second), ours(&original));
}

#[tokio::test]
async fn labels_are_part_of_what_was_added() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-copies-labels", json!({})).await;
    let mut pattern = filed();
    pattern["spec"]["podMetadata"]["labels"] = json!({"example.com/greets": "yes"});
    space.define(&pattern).await;
    original(&space).await;

    let missing = "annotation `outrigger.dev/status` says that `sleepy` is injected, but `label example.com/greets` is not there: put back what was taken, or take everything out with `outrigger uninject` and inject again";
    let without = debug(&space, "original", "without", &["--keep-annotations"]).await;
    assert_eq!(without, Err(format!("{DENIED}{missing}\n")));
    let keep = ["--keep-annotations", "--keep-labels"];
    debug(&space, "original", "copy", &keep)
        .await
        .expect("a copy");
    assert_eq!(sidecars(&space.ready("copy").await), ["sleepy"]);
}

#[tokio::test]
async fn what_is_required_is_required_of_a_copy() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let enabled = json!({"labels": {"outrigger.dev/injection": "enabled"}});
    let space = cluster.space("entries-copies-required", enabled).await;
    space.define(&filed()).await;
    let required = json!({"enforcement": "Required"});
    space.define(&binding("sleepy", "sleepy", required)).await;
    let original = original(&space).await;

    let keep = ["--keep-annotations"];
    debug(&space, "original", "copy", &keep)
        .await
        .expect("a copy");
    assert_eq!(ours(&space.ready("copy").await), ours(&original));

    // What kubectl takes out besides, a copy cannot go without.
    let less = ["--keep-annotations", "--keep-init-containers=false"];
    let changed = "`sleepy` is required, and container `sleepy` is not as it would be injected: take everything out with `outrigger uninject`, or remove annotation `outrigger.dev/status` and what it records";
    assert_eq!(
        debug(&space, "original", "less", &less).await,
        Err(format!("{DENIED}{changed}\n"))
    );
}

#[tokio::test]
async fn a_pod_is_made_again_from_its_own_json() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-copies-json", json!({})).await;
    space.define(&filed()).await;
    let original = original(&space).await;
    // Another revision meanwhile: what is there is carried, and not rendered again.
    let mut newer = filed();
    newer["spec"]["files"]["greeting"] = json!("good evening\n");
    space.define(&newer).await;

    let get = ["get", "pod", "original", "-o", "json"];
    let text = space.kubectl(&get).await.expect("JSON");
    let mut again: Value = serde_json::from_str(&text).expect("JSON");
    let metadata = again["metadata"].as_object_mut().expect("a mapping");
    metadata.shift_remove("resourceVersion");
    metadata.insert("name".to_owned(), json!("again"));
    let args = ["--namespace", &space.name, "create", "-f", "-"];
    let output = run_with("kubectl", &args, Some(&again))
        .await
        .expect("made");
    assert_eq!(
        output.stderr,
        "Warning: outrigger: `sleepy` is outdated: its pattern has changed; take it out with `outrigger uninject` and inject again\n"
    );
    let again = space.ready("again").await;
    assert_eq!(again["spec"], original["spec"]);
    assert_eq!(ours(&again), ours(&original));
}
