//! Advice: who applies a workload is told at once what would become of its Pods, and the workload is made all the same.

use outrigger_e2e::{BUSYBOX, Cluster, Space, calm, run_with, until};
use serde_json::{Value, json};

const HTTPS: &str = "sidecar.outrigger.dev/https";
const MISSPELT: &str = "Warning: outrigger: its Pods will be denied: annotation `sidecar.outrigger.dev/htps`: there is no pattern `htps`: did you mean `https`?\n";
const MISSING: &str = "Warning: outrigger: its Pods will be denied: annotation `sidecar.outrigger.dev/https`: parameter `secretName` is missing: name of a Secret of type kubernetes.io/tls in the Pod's namespace; a renewed certificate is served without a restart\n";
const MISPLACED: &str = "Warning: outrigger: Deployment shop: annotation `sidecar.outrigger.dev/https` does nothing here: move it to the annotations of the Pod template\n";

/// A Pod template with these annotations.
fn template(annotations: Value) -> Value {
    json!({
        "metadata": {"labels": {"app": "shop"}, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "app", "image": BUSYBOX, "command": ["sleep", "100000"],
                "ports": [{"name": "http", "containerPort": 8080}],
            }],
        },
    })
}

/// A Deployment without Pods, with these annotations of its own and of its template.
fn deployment(own: Value, template_annotations: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "annotations": own},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": template(template_annotations),
        },
    })
}

/// A CronJob with these annotations of its jobs and of their Pods.
fn cron_job(jobs: Value, pods: Value) -> Value {
    let mut template = template(pods);
    template["spec"]["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly"},
        "spec": {
            "schedule": "0 3 * * *",
            "jobTemplate": {"metadata": {"annotations": jobs}, "spec": {"template": template}},
        },
    })
}

/// What `kubectl` says on standard error.
async fn says(space: &Space, args: &[&str]) -> String {
    let args = [&["--namespace", &space.name], args].concat();
    let output = run_with("kubectl", &args, None).await;
    output.expect("done, whatever is said").stderr
}

/// Deployments of every kind of mistake, and what is said.
fn deployments() -> [(&'static str, Value, String); 6] {
    let none = || json!({});
    [
        (
            "misspelt",
            deployment(
                none(),
                json!({"sidecar.outrigger.dev/htps": "{secretName: tls}"}),
            ),
            MISSPELT.to_owned(),
        ),
        (
            "missing",
            deployment(none(), json!({HTTPS: ""})),
            MISSING.to_owned(),
        ),
        (
            "misplaced",
            deployment(json!({HTTPS: "{secretName: tls}"}), none()),
            MISPLACED.to_owned(),
        ),
        (
            "misplaced and misspelt",
            deployment(
                json!({HTTPS: ""}),
                json!({"sidecar.outrigger.dev/htps": ""}),
            ),
            format!("{MISPLACED}{MISSPELT}"),
        ),
        (
            "fine",
            deployment(none(), json!({HTTPS: "{secretName: tls}"})),
            String::new(),
        ),
        (
            "without",
            deployment(json!({"example.com/outrigger.dev": "no"}), none()),
            String::new(),
        ),
    ]
}

#[tokio::test]
async fn a_deployment_is_made_and_its_mistake_is_said() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-advice", json!({})).await;
    for (case, deployment, sentence) in deployments() {
        assert_eq!(
            space.apply(&deployment).await.expect("applied"),
            sentence,
            "{case}"
        );
        assert!(space.get("apps/v1", "Deployment", "shop").await.is_some());
        says(&space, &["delete", "deployment", "shop"]).await;
    }
}

#[tokio::test]
async fn it_is_said_again_whatever_is_changed() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-advice-again", json!({})).await;
    for (case, deployment, sentence) in deployments() {
        space.apply(&deployment).await.expect("applied");
        for change in [
            &["label", "deployment", "shop", "tier=web"][..],
            &["set", "env", "deployment", "shop", "GREETING=hello"],
            &["rollout", "restart", "deployment", "shop"],
        ] {
            assert_eq!(says(&space, change).await, sentence, "{case}: {change:?}");
        }
        // `scale` is a subresource of its own: it has no template to say anything about.
        let scale = ["scale", "deployment", "shop", "--replicas=0"];
        assert_eq!(says(&space, &scale).await, "", "{case}");
        says(&space, &["delete", "deployment", "shop"]).await;
    }
}

#[tokio::test]
async fn it_is_said_of_every_kind_of_workload_before_anything_is_made() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-advice-kinds", json!({})).await;
    let misspelt = json!({"sidecar.outrigger.dev/htps": ""});
    let selector = json!({"matchLabels": {"app": "shop"}});
    let mut job = template(misspelt.clone());
    job["spec"]["restartPolicy"] = json!("Never");
    let template = template(misspelt.clone());
    for (api_version, kind, spec) in [
        (
            "apps/v1",
            "ReplicaSet",
            json!({"selector": selector, "template": template}),
        ),
        (
            "apps/v1",
            "DaemonSet",
            json!({"selector": selector, "template": template}),
        ),
        (
            "apps/v1",
            "StatefulSet",
            json!({"selector": selector, "template": template, "serviceName": "shop"}),
        ),
        ("batch/v1", "Job", json!({"template": job})),
    ] {
        let workload = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "shop"}, "spec": spec});
        let args = [
            "--namespace",
            &space.name,
            "create",
            "--dry-run=server",
            "-f",
            "-",
        ];
        let output = run_with("kubectl", &args, Some(&workload))
            .await
            .expect("made");
        assert_eq!(output.stderr, MISSPELT, "{kind}");
        assert_eq!(space.list(api_version, kind).await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn a_cron_job_has_its_template_further_down() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-advice-cron", json!({})).await;
    let misplaced = MISPLACED.replace("Deployment shop", "CronJob nightly");
    for (jobs, pods, sentence) in [
        (json!({}), json!({HTTPS: ""}), MISSING.to_owned()),
        (json!({HTTPS: "{secretName: tls}"}), json!({}), misplaced),
        (
            json!({}),
            json!({HTTPS: "{secretName: tls}"}),
            String::new(),
        ),
    ] {
        let cron_job = cron_job(jobs, pods);
        assert_eq!(space.apply(&cron_job).await.expect("applied"), sentence);
        assert!(space.get("batch/v1", "CronJob", "nightly").await.is_some());
        let suspend = [
            "patch",
            "cronjob",
            "nightly",
            "-p",
            r#"{"spec": {"suspend": true}}"#,
        ];
        assert_eq!(says(&space, &suspend).await, sentence);
        says(&space, &["delete", "cronjob", "nightly"]).await;
    }
}

#[tokio::test]
async fn what_was_said_comes_true() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-advice-true", json!({})).await;
    let mut deployment = deployment(json!({}), json!({HTTPS: ""}));
    deployment["spec"]["replicas"] = json!(1);
    let said = space.apply(&deployment).await.expect("applied");
    assert_eq!(said, MISSING);
    let sentence = said
        .trim_end()
        .rsplit_once("denied: ")
        .expect("a sentence")
        .1;
    let denial =
        format!("admission webhook \"annotated.outrigger.dev\" denied the request: {sentence}");
    until(
        "the Deployment to say that its Pod was denied",
        async || {
            let deployment = space.get("apps/v1", "Deployment", "shop").await?;
            let mut conditions = deployment["status"]["conditions"].as_array()?.iter();
            let failure = conditions.find(|condition| condition["type"] == "ReplicaFailure")?;
            failure["message"].as_str()?.contains(&denial).then_some(())
        },
    )
    .await;
}
