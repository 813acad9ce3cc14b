//! One CA for all replicas, and a caBundle that is right again within seconds, whoever did what to it.

use outrigger_e2e::{Cluster, HOME, NAME, delete_ca, kubectl, scale, storm, until, value};
use serde_json::{Value, json};

const CONFIGURATIONS: [(&str, &str); 4] = [
    ("MutatingWebhookConfiguration", "annotated"),
    ("MutatingWebhookConfiguration", "namespace"),
    ("MutatingWebhookConfiguration", "cluster"),
    ("ValidatingWebhookConfiguration", "advise"),
];

/// What each webhook configuration trusts, in base64.
async fn bundles(cluster: &Cluster) -> Vec<String> {
    let mut bundles = Vec::new();
    for (kind, entry) in CONFIGURATIONS {
        let api = cluster.api("admissionregistration.k8s.io/v1", kind, "");
        let found = api
            .get(&format!("{NAME}-{entry}"))
            .await
            .expect("a configuration");
        let bundle = &value(&found)["webhooks"][0]["clientConfig"]["caBundle"];
        bundles.push(bundle.as_str().unwrap_or_default().to_owned());
    }
    bundles
}

/// What each replica says is to be trusted.
async fn replicas(cluster: &Cluster) -> Vec<String> {
    let mut pems = Vec::new();
    for pod in cluster.replicas().await {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let path = format!("/api/v1/namespaces/{HOME}/pods/{name}:8080/proxy/ca.pem");
        pems.push(kubectl(&["get", "--raw", &path]).await.unwrap_or_default());
    }
    pems
}

/// Every replica and every configuration have the same CAs, and they are the Secret's.
async fn agreed(cluster: &Cluster, count: usize) -> String {
    use base64::Engine;
    until("replicas, configurations and Secret to agree", async || {
        let home = cluster.existing(HOME);
        let secret = home.get("v1", "Secret", &format!("{NAME}-ca")).await?;
        let bundle = secret["data"]["ca.crt"].as_str()?.to_owned();
        let pem = base64::engine::general_purpose::STANDARD
            .decode(&bundle)
            .ok()?;
        let pem = String::from_utf8(pem).ok()?;
        let there = replicas(cluster).await;
        let same = there.len() == count
            && there.iter().all(|replica| *replica == pem)
            && bundles(cluster).await.iter().all(|other| *other == bundle);
        same.then_some(pem)
    })
    .await
}

/// So many servers, all of them ready.
async fn rolled_out(replicas: usize) {
    scale(replicas).await;
    let status = ["rollout", "status", "deployment", NAME, "--namespace", HOME];
    kubectl(&[&status[..], &["--timeout=120s"]].concat())
        .await
        .expect("rolled out");
}

/// A Pod that asks is injected, whichever replica is asked: each new connection may be another one's.
async fn works(cluster: &Cluster) {
    let space = cluster.space("certificates", json!({})).await;
    for number in 0..20 {
        let asks = outrigger_e2e::pod(
            &format!("asks-{number}"),
            json!({"adapter.outrigger.dev/redis-metrics": ""}),
        );
        let pod: Value = space.dry_run(&asks).await.expect("a Pod");
        assert_eq!(outrigger_e2e::sidecars(&pod), ["redis-metrics"]);
    }
}

#[tokio::test]
async fn five_replicas_that_start_at_once_have_one_ca() {
    let _storm = storm().await;
    let cluster = Cluster::connect().await;
    cluster.forget_ca().await;
    rolled_out(5).await;
    let pem = agreed(&cluster, 5).await;
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 1, "{pem}");
    works(&cluster).await;
    rolled_out(2).await;
    agreed(&cluster, 2).await;
}

#[tokio::test]
async fn what_is_lost_comes_back() {
    let _storm = storm().await;
    let cluster = Cluster::connect().await;
    let before = agreed(&cluster, 2).await;
    delete_ca().await;
    assert_eq!(
        agreed(&cluster, 2).await,
        before,
        "the CA that everybody trusts comes back"
    );

    for (kind, entry) in CONFIGURATIONS {
        for bundle in ["", "bm90IGEgQ0E="] {
            // The API server refuses what is no PEM, but takes nothing at all.
            let patch = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]);
            let patch = patch.to_string();
            let name = format!("{NAME}-{entry}");
            let _ = kubectl(&["patch", kind, &name, "--type=json", "-p", &patch]).await;
        }
    }
    agreed(&cluster, 2).await;
    works(&cluster).await;
}

#[tokio::test]
async fn what_nobody_can_heal_is_said() {
    let _storm = storm().await;
    let cluster = Cluster::connect().await;
    agreed(&cluster, 2).await;
    let configuration = format!("{NAME}-namespace");
    let kind = "MutatingWebhookConfiguration";
    let saved = kubectl(&["get", kind, &configuration, "-o", "json"])
        .await
        .expect("JSON");
    kubectl(&["delete", kind, &configuration])
        .await
        .expect("deleted");
    let sentence = format!("{kind} `{configuration}` does not exist: no API server calls us by it");
    said(&cluster, &sentence).await;
    let status = outrigger_e2e::outrigger(&["status"])
        .await
        .expect("a status");
    assert!(
        status
            .stderr
            .contains("there is no webhook `namespace.outrigger.dev`"),
        "{}",
        status.stderr
    );
    let mut saved: Value = serde_json::from_str(&saved).expect("JSON");
    saved["metadata"]
        .as_object_mut()
        .expect("a mapping")
        .retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
    saved["webhooks"][0]["clientConfig"]
        .as_object_mut()
        .expect("a mapping")
        .shift_remove("caBundle");
    outrigger_e2e::run_with("kubectl", &["create", "-f", "-"], Some(&saved))
        .await
        .expect("created");
    agreed(&cluster, 2).await;

    let secret = format!("{NAME}-ca");
    let saved = kubectl(&["--namespace", HOME, "get", "secret", &secret, "-o", "json"])
        .await
        .expect("JSON");
    let damage = r#"{"data": {"ca-1.crt": "bm8="}}"#;
    cluster
        .existing(HOME)
        .kubectl(&["patch", "secret", &secret, "-p", damage])
        .await
        .expect("patched");
    said(&cluster, &format!("Secret `{secret}`: ca-1:")).await;
    works(&cluster).await;
    let saved: Value = serde_json::from_str(&saved).expect("JSON");
    let repair = json!({"data": saved["data"]}).to_string();
    cluster
        .existing(HOME)
        .kubectl(&["patch", "secret", &secret, "-p", &repair])
        .await
        .expect("patched");
    agreed(&cluster, 2).await;
}

/// Every replica says so where people look, and is ready all the same.
async fn said(cluster: &Cluster, sentence: &str) {
    until(&format!("every replica to say: {sentence}"), async || {
        let replicas = cluster.replicas().await;
        for pod in &replicas {
            let name = pod["metadata"]["name"].as_str()?;
            let path = format!("/api/v1/namespaces/{HOME}/pods/{name}:8080/proxy/readyz?verbose");
            let report = kubectl(&["get", "--raw", &path]).await.ok()?;
            report.contains(sentence).then_some(())?;
        }
        (replicas.len() == 2).then_some(())
    })
    .await;
}
