//! The three ways in, and the ways out.

use outrigger_e2e::{Cluster, Home, Space, binding, calm, kubectl, pattern, pod, sidecars};
use serde_json::{Value, json};

/// A Pod runs to Ready, its native sidecar with it.
async fn runs(space: &Space, pod: &Value, expected: &[&str]) {
    let created = space.create(pod).await.expect("a Pod");
    assert_eq!(sidecars(&created), expected);
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let ready = space.ready(name).await;
    let started = ready["status"]["initContainerStatuses"]
        .as_array()
        .into_iter()
        .flatten();
    assert!(
        started
            .clone()
            .all(|status| status["started"] == true && status["ready"] == true),
        "{ready:#}"
    );
    assert_eq!(started.count(), expected.len());
}

/// A Pod is made as it was written.
async fn untouched(space: &Space, pod: &Value) {
    let created = space.create(pod).await.expect("a Pod");
    assert_eq!(sidecars(&created), [] as [&str; 0]);
    assert_eq!(
        created["metadata"]["annotations"].get("outrigger.dev/status"),
        None
    );
}

#[tokio::test]
async fn a_pod_asks_by_annotation() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("ways-asks", json!({})).await;
    space.define(&pattern("sleepy")).await;
    let asks = json!({"sidecar.outrigger.dev/sleepy": "{word: asked}", "sidecar.outrigger.dev/sleepy.two": ""});
    runs(&space, &pod("asks", asks), &["sleepy", "sleepy--two"]).await;
    let word = [
        "exec",
        "asks",
        "-c",
        "sleepy",
        "--",
        "sh",
        "-c",
        "echo $WORD",
    ];
    assert_eq!(space.kubectl(&word).await.expect("a word"), "asked\n");

    let mut out = pod("opted-out", json!({"sidecar.outrigger.dev/sleepy": ""}));
    out["metadata"]["labels"] = json!({"outrigger.dev/injection": "disabled"});
    untouched(&space, &out).await;

    let misspelt = pod("misspelt", json!({"sidecar.outrigger.dev/sleep": ""}));
    assert_eq!(
        space.create(&misspelt).await.expect_err("a denial"),
        "admission webhook \"annotated.outrigger.dev\" denied the request: annotation `sidecar.outrigger.dev/sleep`: there is no pattern `sleep`: did you mean `sleepy`?"
    );
}

#[tokio::test]
async fn a_namespace_offers() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let offers = json!({
        "labels": {"outrigger.dev/injection": "enabled"},
        "annotations": {"sidecar.outrigger.dev/sleepy": "{word: offered}"},
    });
    let space = cluster.space("ways-offers", offers).await;
    space.define(&pattern("sleepy")).await;
    runs(&space, &pod("offered", json!({})), &["sleepy"]).await;
    untouched(
        &space,
        &pod("declines", json!({"sidecar.outrigger.dev/sleepy": "false"})),
    )
    .await;
    let mut out = pod("opted-out", json!({}));
    out["metadata"]["labels"] = json!({"outrigger.dev/injection": "disabled"});
    untouched(&space, &out).await;
    // The API server's and our picture of a namespace follow its label.
    let label = [
        "label",
        "namespace",
        "ways-offers",
        "--overwrite",
        "outrigger.dev/injection=disabled",
    ];
    kubectl(&label).await.expect("a label");
    outrigger_e2e::until("the namespace to be known as disabled", async || {
        let pod = space.dry_run(&pod("disabled", json!({}))).await.ok()?;
        sidecars(&pod).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_binding_of_the_cluster_gives() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster
        .space("ways-bound", json!({"labels": {"team": "bound"}}))
        .await;
    let home = Home::new(&cluster);
    home.define(&pattern("bound")).await;
    let spec = json!({
        "params": {"word": "bound"},
        "match": {
            "namespaceSelector": {"matchLabels": {"team": "bound"}},
            "podSelector": {"matchLabels": {"tier": "web"}},
            "matchConditions": [{"name": "busy", "expression": "object.spec.containers.exists(c, c.image.contains('busybox'))"}],
        },
    });
    home.define(&binding("bound", "bound", spec.clone())).await;
    let web = |name: &str, annotations: Value| {
        let mut pod = pod(name, annotations);
        pod["metadata"]["labels"] = json!({"tier": "web"});
        pod
    };
    runs(&space, &web("web", json!({})), &["bound"]).await;
    untouched(&space, &pod("not-web", json!({}))).await;
    let mut other = web("other-image", json!({}));
    other["spec"]["containers"][0]["image"] = json!("localhost/pause:1");
    untouched(&space, &other).await;
    untouched(
        &space,
        &web(
            "declines",
            json!({"sidecar.outrigger.dev/bound": "disabled"}),
        ),
    )
    .await;
    let elsewhere = cluster.space("ways-unbound", json!({})).await;
    untouched(&elsewhere, &web("web", json!({}))).await;

    // Required beats every way out.
    let mut required = spec.clone();
    required["enforcement"] = json!("Required");
    home.define(&binding("bound", "bound", required)).await;
    let mut out = web("opted-out", json!({"sidecar.outrigger.dev/bound": "false"}));
    out["metadata"]["labels"]["outrigger.dev/injection"] = json!("disabled");
    runs(&space, &out, &["bound"]).await;

    // Audit patches nothing, and reports.
    let mut audit = spec;
    audit["mode"] = json!("Audit");
    home.define(&binding("bound", "bound", audit)).await;
    untouched(&space, &web("audited", json!({}))).await;
    let said = space.apply(&web("warned", json!({}))).await.expect("a Pod");
    assert!(
        said.contains("Warning: outrigger: `bound`: audit:"),
        "{said}"
    );
}
