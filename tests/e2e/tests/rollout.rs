//! Pods are made all the time while everything around them changes: none is lost, none is without its helper.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outrigger_e2e::{
    BUSYBOX, Cluster, NAME, Space, kubectl, pattern, recipe, scale, sidecars, storm, until,
};
use serde_json::{Value, json};

use crate::chart::{Helm, Release, WIDE};

/// So short that a CA comes, signs and is gone within two minutes.
const SHORT: [&str; 4] = [
    "--set",
    "tls.caLifetime=90s",
    "--set",
    "tls.leafLifetime=15s",
];

/// The release with these lifetimes, as the version of this number.
async fn upgrade(version: usize) {
    let version = format!("podAnnotations.version={version}");
    let values = [WIDE, &SHORT, &["--set-string", &version]].concat();
    Helm::new("helm").upgrade(&values).await;
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "twenty"},
        "spec": {
            "replicas": 20,
            "selector": {"matchLabels": {"app": "twenty"}},
            "strategy": {"rollingUpdate": {"maxSurge": 5, "maxUnavailable": 5}},
            "template": {
                "metadata": {"labels": {"app": "twenty"}, "annotations": {"sidecar.outrigger.dev/sleepy": ""}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "app", "image": BUSYBOX, "command": ["sleep", "100000"]}],
                },
            },
        },
    })
}

/// Creations that the ReplicaSets could not do because of a webhook: what was said, and how often.
async fn failures(space: &Space) -> BTreeMap<String, i64> {
    let mut failures = BTreeMap::new();
    for event in space.list("v1", "Event").await {
        let message = event["message"].as_str().unwrap_or_default();
        if event["reason"] == "FailedCreate" && message.contains("webhook") {
            let count = event["count"].as_i64().unwrap_or(1);
            *failures.entry(message.to_owned()).or_default() += count;
        }
    }
    failures
}

/// The number of the oldest CA that is still trusted.
async fn oldest(cluster: &Cluster) -> u64 {
    let home = outrigger_e2e::Home::new(cluster);
    let secret = home.space.get("v1", "Secret", &format!("{NAME}-ca")).await;
    let secret = secret.unwrap_or_default();
    let names = secret["data"].as_object().into_iter().flatten();
    names
        .filter_map(|(name, _)| name.strip_prefix("ca-")?.strip_suffix(".crt")?.parse().ok())
        .min()
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_is_lost_and_none_is_without_its_helper() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let space = cluster.space("rollout", json!({})).await;
    space.define(&pattern("sleepy")).await;
    // A CA with a short life has to be a new one.
    cluster.forget_ca().await;
    upgrade(0).await;
    scale(2).await;
    until("two replicas", async || {
        (cluster.replicas().await.len() == 2).then_some(())
    })
    .await;
    let first = oldest(&cluster).await;

    space.create(&deployment()).await.expect("a Deployment");
    let over = Arc::new(AtomicBool::new(false));
    let rolling = tokio::spawn(roll(over.clone()));

    // The server rolls again and again, until another CA has taken the first one's place.
    let mut versions = 0;
    while oldest(&cluster).await == first {
        versions += 1;
        upgrade(versions).await;
    }
    assert_eq!(
        failures(&space).await,
        BTreeMap::new(),
        "after {versions} upgrades"
    );

    // From here on a call can be cut off in the middle; the ReplicaSet tries again.
    recipe(&["restart", "kube-apiserver"])
        .await
        .expect("restarted");
    kill_one().await;
    until("two replicas", async || {
        (cluster.replicas().await.len() == 2).then_some(())
    })
    .await;
    over.store(true, Ordering::Relaxed);
    let rolls = rolling.await.expect("no panic");

    let pods = until("twenty Pods of the last roll", async || {
        let pods = space.list("v1", "Pod").await;
        let live = pods
            .iter()
            .filter(|pod| outrigger_e2e::is_ready(pod))
            .count();
        (pods.len() == 20 && live == 20).then_some(pods)
    })
    .await;
    for pod in &pods {
        assert_eq!(sidecars(pod), ["sleepy"]);
    }
    let after = failures(&space).await;
    println!(
        "{rolls} rolls of 20 Pods, {versions} upgrades; after kill -9 and a restart of the API server: {after:?}"
    );
}

/// Makes twenty new Pods again and again, and looks at each.
async fn roll(over: Arc<AtomicBool>) -> usize {
    let mut rolls = 0;
    while !over.load(Ordering::Relaxed) {
        let rollout = |command: &'static [&'static str]| async move {
            kubectl(&[&["--namespace", "rollout", "rollout"], command].concat()).await
        };
        // The API server may be away for a moment.
        if rollout(&["restart", "deployment/twenty"]).await.is_ok()
            && rollout(&["status", "deployment/twenty", "--timeout=120s"])
                .await
                .is_ok()
        {
            rolls += 1;
        }
        let pods = kubectl(&["--namespace", "rollout", "get", "pods", "-o", "json"]).await;
        let pods: Value = serde_json::from_str(&pods.unwrap_or_default()).unwrap_or_default();
        for pod in pods["items"].as_array().into_iter().flatten() {
            assert_eq!(sidecars(pod), ["sleepy"], "{pod:#}");
        }
    }
    rolls
}

/// Ends one server as nothing ought to end.
async fn kill_one() {
    let found =
        outrigger_e2e::run_with("pgrep", &["-f", "^/outrigger serve --cluster"], None).await;
    let found = found.expect("servers on this machine").stdout;
    let pid = found.lines().next().expect("a server");
    outrigger_e2e::run_with("kill", &["-9", pid], None)
        .await
        .expect("killed");
}
