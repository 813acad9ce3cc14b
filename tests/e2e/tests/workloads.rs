//! Helpers in what really makes Pods, and in namespaces with rules of their own; and who is told of what became of them.

use outrigger_e2e::{Cluster, Space, calm, is_ready, outrigger, pattern, pod, sidecars, until};
use serde_json::{Value, json};

/// What a container needs where Pod Security `restricted` is enforced.
fn restricted(user: u32) -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": user, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// A Pod template with these annotations, whose one container runs a command.
fn template(app: &str, annotations: Value, command: Value) -> Value {
    let mut spec = pod(app, json!({}))["spec"].take();
    spec["containers"][0]["command"] = command;
    json!({"metadata": {"labels": {"app": app}, "annotations": annotations}, "spec": spec})
}

/// A workload of `apps/v1` whose Pods sleep.
fn workload(kind: &str, name: &str, replicas: u32, annotations: Value) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, annotations, json!(["sleep", "100000"])),
        },
    });
    if kind != "DaemonSet" {
        workload["spec"]["replicas"] = replicas.into();
    }
    workload
}

/// A namespace that offers `sleepy` to its Pods.
async fn offering(cluster: &Cluster, name: &str) -> Space {
    let offers = json!({
        "labels": {"outrigger.dev/injection": "enabled"},
        "annotations": {"sidecar.outrigger.dev/sleepy": ""},
    });
    let space = cluster.space(name, offers).await;
    space.define(&pattern("sleepy")).await;
    space
}

/// Waits until a workload has so many Pods, all of them Ready; those by name.
async fn pods(space: &Space, app: &str, count: usize) -> Vec<Value> {
    until(&format!("{count} Pods of {app} to be ready"), async || {
        let mut pods = space.list("v1", "Pod").await;
        pods.retain(|pod| pod["metadata"]["labels"]["app"] == app && is_ready(pod));
        pods.sort_by_key(|pod| pod["metadata"]["name"].to_string());
        (pods.len() == count).then_some(pods)
    })
    .await
}

/// What objects of a kind were told by us, once there is something: reason, type, whose, and the sentence.
async fn told(space: &Space, kind: &str) -> Vec<[String; 4]> {
    until(&format!("an Event on a {kind}"), async || {
        let events = space.list("events.k8s.io/v1", "Event").await;
        let ours = events.iter().filter(|event| {
            event["reportingController"] == "outrigger.dev/injector"
                && event["regarding"]["kind"] == kind
        });
        let told: Vec<_> = ours
            .map(|event| {
                let whose = &event["regarding"]["name"];
                [&event["reason"], &event["type"], whose, &event["note"]]
                    .map(|text| text.as_str().unwrap_or_default().to_owned())
            })
            .collect();
        (!told.is_empty()).then_some(told)
    })
    .await
}

/// The one thing that objects of a kind were told.
async fn told_once(space: &Space, kind: &str) -> [String; 4] {
    let mut told = told(space, kind).await;
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0)
}

/// `outrigger status` of a namespace: each row its workload, instance, state, count of Pods and reason.
async fn status(space: &Space) -> Vec<String> {
    let status = outrigger(&["status", "-n", &space.name, "-o", "json"]).await;
    let rows: Value = serde_json::from_str(&status.expect("a status").stdout).expect("JSON");
    let cell = |row: &Value, field: &str| match &row[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields = ["workload", "instance", "state", "pods", "reason"];
    let line = |row| fields.map(|field| cell(row, field)).join(" ");
    rows.as_array().expect("rows").iter().map(line).collect()
}

#[tokio::test]
async fn a_restricted_namespace_takes_a_built_in_and_a_pattern_of_its_own() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let labels = json!({"labels": {"pod-security.kubernetes.io/enforce": "restricted"}});
    let space = cluster.space("work-restricted", labels).await;
    space.define(&pattern("sleepy")).await;
    let asks =
        json!({"adapter.outrigger.dev/redis-metrics": "", "sidecar.outrigger.dev/sleepy": ""});
    let mut redis = pod("redis", asks);
    redis["spec"]["containers"] =
        json!([{"name": "redis", "image": "redis:7.4", "securityContext": restricted(999)}]);
    space.create(&redis).await.expect("a Pod");
    let ready = space.ready("redis").await;
    assert_eq!(sidecars(&ready), ["redis-metrics", "sleepy"]);
    let path = "/api/v1/namespaces/work-restricted/pods/redis:9121/proxy/metrics";
    until("the exporter to reach Redis", async || {
        let metrics = space.kubectl(&["get", "--raw", path]).await.ok()?;
        metrics.contains("\nredis_up 1\n").then_some(())
    })
    .await;

    // Injection grants nothing: what the author may not write, a pattern may not either.
    let mut root = pattern("root");
    root["spec"]["containers"][0]["securityContext"]["runAsUser"] = json!(0);
    space.define(&root).await;
    redis["metadata"]["name"] = json!("rooted");
    redis["metadata"]["annotations"] = json!({"sidecar.outrigger.dev/root": ""});
    let refused = space.create(&redis).await.expect_err("a refusal");
    assert!(
        refused.contains("violates PodSecurity \"restricted:latest\""),
        "{refused}"
    );
    assert!(
        refused.contains("container \"root\" must not set runAsUser=0"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_quota_counts_helpers_and_says_what_one_leaves_out() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("work-quota", json!({})).await;
    space.define(&pattern("sleepy")).await;
    let hard = json!({"requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "2", "limits.memory": "1Gi"});
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": hard},
    });
    space.create(&quota).await.expect("a quota");
    // Nothing is let in before the quota's first count.
    until("the quota to count", async || {
        let quota = space.get("v1", "ResourceQuota", "quota").await?;
        quota["status"]["used"]["limits.cpu"].as_str().map(drop)
    })
    .await;
    let app = |name: &str, annotations: Value| {
        let mut app = pod(name, annotations);
        let amounts = json!({"cpu": "10m", "memory": "16Mi"});
        app["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
        app
    };
    let metrics = app(
        "metrics",
        json!({"adapter.outrigger.dev/redis-metrics": ""}),
    );
    space.create(&metrics).await.expect("a Pod");
    let quota = space
        .get("v1", "ResourceQuota", "quota")
        .await
        .expect("the quota");
    assert_eq!(
        quota["status"]["used"],
        json!({"requests.cpu": "15m", "requests.memory": "40Mi", "limits.cpu": "210m", "limits.memory": "112Mi"})
    );

    let bare = app("bare", json!({"sidecar.outrigger.dev/sleepy": ""}));
    assert_eq!(
        space.create(&bare).await.expect_err("a refusal"),
        "pods \"bare\" is forbidden: failed quota: quota: must specify limits.cpu for: sleepy"
    );
    let limits = "{override: {resources: {limits: {cpu: 20m}}}}";
    let given = app("given", json!({"sidecar.outrigger.dev/sleepy": limits}));
    space.create(&given).await.expect("a Pod");
}

#[tokio::test]
async fn a_limit_range_fills_in_what_a_pattern_leaves_out_and_once_injected_is_injected() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("work-limits", json!({})).await;
    let mut lean = pattern("lean");
    lean["spec"]["containers"][0]
        .as_object_mut()
        .expect("a container")
        .remove("resources");
    space.define(&lean).await;
    let amounts = json!({"cpu": "20m", "memory": "24Mi"});
    let limits = json!([{"type": "Container", "default": amounts, "defaultRequest": amounts}]);
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "range"}, "spec": {"limits": limits},
    });
    space.create(&range).await.expect("a range");
    let asks = json!({"sidecar.outrigger.dev/lean": "", "adapter.outrigger.dev/redis-metrics": ""});
    let first = until("the API server to know the range", async || {
        let first = space
            .dry_run(&pod("first", asks.clone()))
            .await
            .expect("a Pod");
        let filled = &first["spec"]["containers"][0]["resources"];
        filled.get("limits").is_some().then_some(())?;
        Some(
            space
                .create(&pod("first", asks.clone()))
                .await
                .expect("a Pod"),
        )
    })
    .await;
    let resources =
        |pod: &Value, index: usize| pod["spec"]["initContainers"][index]["resources"].clone();
    assert_eq!(sidecars(&first), ["lean", "redis-metrics"]);
    assert_eq!(
        resources(&first, 0),
        json!({"limits": amounts, "requests": amounts})
    );
    assert_eq!(
        resources(&first, 1)["requests"],
        json!({"cpu": "5m", "memory": "24Mi"})
    );

    // As it stands in the cluster by now: with defaults, a token and a node.
    let mut again = space.ready("first").await;
    again["metadata"] = json!({"name": "second", "annotations": again["metadata"]["annotations"]});
    let second = space.create(&again).await.expect("a Pod");
    assert_eq!(second["spec"], again["spec"]);
    assert_eq!(
        second["metadata"]["annotations"],
        again["metadata"]["annotations"]
    );
    assert!(is_ready(&space.ready("second").await));
}

#[tokio::test]
async fn a_job_ends_with_its_helper() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = offering(&cluster, "work-jobs").await;
    let mut task = template("task", json!({}), json!(["true"]));
    task["spec"]["restartPolicy"] = json!("Never");
    let spec = json!({"template": task, "backoffLimit": 0});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": spec,
    });
    let cron = json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "daily"},
        "spec": {"schedule": "0 0 * * *", "suspend": true, "jobTemplate": {"spec": spec}},
    });
    space.create(&job).await.expect("a Job");
    space.create(&cron).await.expect("a CronJob");
    space
        .kubectl(&["create", "job", "now", "--from=cronjob/daily"])
        .await
        .expect("a Job");
    for name in ["once", "now"] {
        until(&format!("Job {name} to complete"), async || {
            let job = space.get("batch/v1", "Job", name).await?;
            assert_ne!(job["status"]["failed"], 1, "{job:#}");
            (job["status"]["succeeded"] == 1).then_some(())
        })
        .await;
    }
    let pods = space.list("v1", "Pod").await;
    assert_eq!(pods.len(), 2);
    for pod in &pods {
        assert_eq!(sidecars(pod), ["sleepy"]);
        assert_eq!(pod["status"]["phase"], "Succeeded");
        let helper = &pod["status"]["initContainerStatuses"][0]["state"];
        assert!(helper["terminated"].is_object(), "{helper}");
    }
    // What is over has nothing to miss.
    assert_eq!(status(&space).await, [] as [&str; 0]);
}

#[tokio::test]
async fn every_kind_of_workload_has_the_helper_in_each_pod_and_its_maker_is_told_once() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = offering(&cluster, "work-kinds").await;
    for (kind, name, replicas) in [
        ("Deployment", "web", 3),
        ("StatefulSet", "store", 2),
        ("DaemonSet", "agent", 0),
    ] {
        let workload = workload(kind, name, replicas, json!({}));
        space.create(&workload).await.expect("a workload");
    }
    let nodes = until("the DaemonSet to know its nodes", async || {
        let set = space.get("apps/v1", "DaemonSet", "agent").await?;
        let nodes = set["status"]["desiredNumberScheduled"].as_u64()?;
        usize::try_from(nodes).ok().filter(|nodes| *nodes > 0)
    })
    .await;
    for (name, count) in [("web", 3), ("store", 2), ("agent", nodes)] {
        for pod in pods(&space, name, count).await {
            assert_eq!(sidecars(&pod), ["sleepy"]);
        }
    }
    let stored = pods(&space, "store", 2).await;
    let names = stored.iter().map(|pod| &pod["metadata"]["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["store-0", "store-1"]);
    assert_eq!(
        status(&space).await,
        [
            format!("DaemonSet/agent sleepy has {nodes} carried"),
            "Deployment/web sleepy has 3 carried".to_owned(),
            "StatefulSet/store sleepy has 2 carried".to_owned(),
        ]
    );

    for kind in ["StatefulSet", "DaemonSet", "ReplicaSet"] {
        let [reason, level, whose, note] = told_once(&space, kind).await;
        assert_eq!([reason.as_str(), &level], ["Injected", "Normal"]);
        assert_eq!(
            note,
            "injected `sleepy` (the namespace's annotation `sidecar.outrigger.dev/sleepy`)"
        );
        let describe = ["describe", kind, &whose];
        let described = space.kubectl(&describe).await.expect("a description");
        assert_eq!(described.matches(&note).count(), 1, "{described}");
    }
}

#[tokio::test]
async fn an_offer_that_cannot_be_done_stops_no_pod_and_its_maker_is_told() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = offering(&cluster, "work-collision").await;
    let mut taken = workload("Deployment", "taken", 2, json!({}));
    taken["spec"]["template"]["spec"]["containers"][0]["name"] = json!("sleepy");
    space.create(&taken).await.expect("a Deployment");
    for pod in pods(&space, "taken", 2).await {
        assert_eq!(sidecars(&pod), [] as [&str; 0]);
    }
    let [reason, level, _, note] = told_once(&space, "ReplicaSet").await;
    assert_eq!([reason.as_str(), &level], ["InjectionSkipped", "Warning"]);
    assert_eq!(
        note,
        "`sleepy` is not injected: the namespace's annotation `sidecar.outrigger.dev/sleepy`: \
         the Pod has a container `sleepy` already: rename it, or ask for `sleepy.2` instead"
    );
    assert_eq!(
        status(&space).await,
        ["Deployment/taken sleepy skipped 2 conflict"]
    );
}

#[tokio::test]
async fn a_dry_run_tells_nobody() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = offering(&cluster, "work-dry").await;
    let mut pods = Vec::new();
    for name in ["rehearsed", "made"] {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let owner = space.create(&owner).await.expect("an owner");
        let mut pod = pod(name, json!({}));
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner["metadata"]["uid"],
        }]);
        pods.push(pod);
    }
    let rehearsed = space.dry_run(&pods[0]).await.expect("a Pod");
    assert_eq!(sidecars(&rehearsed), ["sleepy"]);
    space.create(&pods[1]).await.expect("a Pod");
    // A replica's Events leave in the order of its reviews, and one connection leads to one replica: an Event about the first
    // would be there by now.
    let [_, _, whose, _] = told_once(&space, "ConfigMap").await;
    assert_eq!(whose, "made");
}

#[tokio::test]
async fn status_says_how_the_pods_of_each_workload_stand() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let offers = json!({"annotations": {"sidecar.outrigger.dev/late": ""}});
    let space = cluster.space("work-status", offers).await;
    for name in ["late", "kept", "edited", "gone"] {
        space.define(&pattern(name)).await;
    }
    let asks = json!({
        "sidecar.outrigger.dev/kept": "",
        "sidecar.outrigger.dev/edited": "",
        "sidecar.outrigger.dev/gone": "",
    });
    for (name, annotations) in [("web", asks), ("worker", json!({}))] {
        let deployment = workload("Deployment", name, 2, annotations);
        space.create(&deployment).await.expect("a Deployment");
        pods(&space, name, 2).await;
    }
    assert_eq!(
        status(&space).await,
        [
            "Deployment/web edited has 2 carried",
            "Deployment/web gone has 2 carried",
            "Deployment/web kept has 2 carried",
        ]
    );

    // The namespace, a pattern and another one change after the Pods.
    let enable = [
        "label",
        "namespace",
        "work-status",
        "outrigger.dev/injection=enabled",
    ];
    space.kubectl(&enable).await.expect("a label");
    let mut edited = pattern("edited");
    edited["spec"]["params"]["properties"]["word"]["default"] = json!("good evening");
    space.define(&edited).await;
    let delete = ["delete", "pattern", "gone"];
    space.kubectl(&delete).await.expect("deleted");
    assert_eq!(
        status(&space).await,
        [
            "Deployment/web edited outdated 2 outdated",
            "Deployment/web gone conflicting 2 unknown-pattern",
            "Deployment/web kept has 2 carried",
            "Deployment/web late missing 2 created-before",
            "Deployment/worker late missing 2 created-before",
        ]
    );
    let table = outrigger(&["status", "-n", "work-status"]).await;
    let table = table.expect("a table").stdout;
    let advice = "the Pod is older than the wish, or came while no server answered: make it anew";
    assert!(table.contains(advice), "{table}");

    // What the advice leads to.
    let restart = ["rollout", "restart", "deployment/worker"];
    space.kubectl(&restart).await.expect("restarted");
    until("the worker's Pods to have it", async || {
        let rows = status(&space).await;
        let has = "Deployment/worker late has 2 carried";
        (rows.last().is_some_and(|row| row == has)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn status_passes_over_a_pod_on_its_way_out() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = offering(&cluster, "work-leaving").await;
    for name in ["leaves", "stays"] {
        let mut pod = pod(name, json!({}));
        // `sleep` does not hear that it should end.
        pod["spec"]["terminationGracePeriodSeconds"] = json!(30);
        space.create(&pod).await.expect("a Pod");
        space.ready(name).await;
    }
    let delete = ["delete", "pod", "leaves", "--wait=false"];
    space.kubectl(&delete).await.expect("deleted");
    assert_eq!(status(&space).await, ["Pod/stays sleepy has 1 carried"]);
}
