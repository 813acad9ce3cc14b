//! Somebody is away, and what goes on all the same: without the server, with one server less, without the API server.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::api::PostParams;
use kube::core::Request;
use kube::{Client, Config};
use outrigger_e2e::{
    Cluster, HOME, NAME, Space, kubectl, pattern, pod, recipe, scale, sidecars, storm, until, value,
};
use serde_json::{Value, json};

use crate::chart::{ENTRIES, Release, trusted, two};

/// Objects of a namespace that is nobody's, taken away again.
struct Guest(Space);

impl Guest {
    fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self(cluster.existing(namespace))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kubectl")
            .args(["delete", "deployments,pods", "--selector=test=outage"])
            .args(["--wait=false", "--namespace", &self.0.name])
            .output();
    }
}

/// A Pod that asks for `sleepy`, or the template of one.
fn asks(name: &str) -> Value {
    let mut asks = pod(name, json!({"sidecar.outrigger.dev/sleepy": ""}));
    asks["metadata"]["labels"] = json!({"test": "outage"});
    asks
}

/// A Deployment of one such Pod.
fn deployment(name: &str) -> Value {
    let Value::Object(mut template) = asks(name) else {
        unreachable!("a Pod is an object");
    };
    template.retain(|key, _| key == "metadata" || key == "spec");
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"test": "outage"}},
        "spec": {"selector": {"matchLabels": {"test": "outage"}}, "template": template},
    })
}

/// Waits until a Deployment's Pod is ready; its name.
async fn available(space: &Space, name: &str) {
    until(&format!("Deployment {}/{name}", space.name), async || {
        let found = space.get("apps/v1", "Deployment", name).await?;
        (found["status"]["availableReplicas"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_server_the_cluster_lives_and_who_asks_waits() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let plain = cluster.space("chart-outage", json!({})).await;
    let enabled = json!({"labels": {"outrigger.dev/injection": "enabled"}});
    let enabled = cluster.space("chart-outage-enabled", enabled).await;
    plain.define(&pattern("sleepy")).await;
    scale(0).await;
    until("no server", async || {
        let refused = plain.dry_run(&asks("asks")).await.err()?;
        refused.contains("connection refused").then_some(())
    })
    .await;

    // What a cluster needs to come up, and Outrigger with it.
    for namespace in ["kube-system", HOME] {
        let guest = Guest::new(&cluster, namespace);
        let created = guest.0.create(&asks("chart-outage")).await.expect("a Pod");
        assert_eq!(sidecars(&created), [] as [&str; 0]);
        guest.0.ready("chart-outage").await;
        let deployment = deployment("chart-outage-2");
        guest.0.create(&deployment).await.expect("a Deployment");
        available(&guest.0, "chart-outage-2").await;
    }

    // Who wants nothing gets nothing.
    plain
        .create(&pod("wants-nothing", json!({})))
        .await
        .expect("a Pod");
    plain.ready("wants-nothing").await;

    // Who wants something is told what is amiss.
    let service = plain.get("v1", "Service", NAME).await;
    assert!(service.is_none());
    let services = cluster.api("v1", "Service", HOME);
    let service = value(&services.get(NAME).await.expect("a Service"));
    let address = service["spec"]["clusterIP"].as_str().expect("an address");
    let sentence = |entry: &str| {
        format!(
            "failed calling webhook \"{entry}.outrigger.dev\": failed to call webhook: Post \"https://{NAME}.{HOME}.svc:443/mutate/{entry}?timeout=5s\": dial tcp {address}:443: connect: connection refused"
        )
    };
    for (space, pod, entry) in [
        (&plain, asks("asks"), "annotated"),
        (&enabled, asks("asks"), "annotated"),
        (&enabled, pod("offered", json!({})), "namespace"),
    ] {
        let refused = space.create(&pod).await.expect_err("a refusal");
        assert_eq!(
            refused,
            format!("Internal error occurred: {}", sentence(entry))
        );
    }

    // A workload can be applied. Its Pods come with the server, and nobody has to do anything.
    let said = plain.apply(&deployment("waits")).await.expect("applied");
    assert_eq!(said, "", "advice is nobody's need");
    until("the ReplicaSet to say why it has no Pod", async || {
        let events = plain.list("v1", "Event").await;
        let said = events
            .iter()
            .find(|event| event["reason"] == "FailedCreate")?;
        said["message"]
            .as_str()?
            .contains(&sentence("annotated"))
            .then_some(())
    })
    .await;
    scale(2).await;
    available(&plain, "waits").await;
    let pods = plain.list("v1", "Pod").await;
    let waited = pods
        .iter()
        .find(|pod| pod["metadata"]["labels"]["test"] == "outage");
    assert_eq!(sidecars(waited.expect("a Pod")), ["sleepy"]);
}

/// A client of its own: the other one tries again by itself when it is told to wait.
async fn impatient() -> Client {
    let mut config = Config::infer().await.expect("a kubeconfig");
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// Asks for an eviction, as `kubectl drain` does.
async fn evict(client: &Client, pod: &Value) -> Result<Value, String> {
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": HOME},
    });
    let path = format!("/api/v1/namespaces/{HOME}/pods/{name}/eviction");
    let request = Request::new(path)
        .create(&PostParams::default(), eviction.to_string().into_bytes())
        .expect("a request");
    match client.request(request).await {
        Ok(done) => Ok(done),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn servers_leave_one_at_a_time_and_nobody_notices() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let space = cluster.space("chart-drain", json!({})).await;
    let client = impatient().await;
    let (_, refusals) = space
        .while_pods_ask(async {
            let servers = two(&cluster).await;
            evict(&client, &servers[0]).await.expect("evicted");
            assert_eq!(
                evict(&client, &servers[1]).await.expect_err("a refusal"),
                "Cannot evict pod as it would violate the pod's disruption budget."
            );
            until("the other one to be replaceable", async || {
                evict(&client, &servers[1]).await.ok()
            })
            .await;
            assert!(!cluster.replicas().await.is_empty());
            let servers = two(&cluster).await;
            // A budget does not count for whoever deletes.
            let name = servers[0]["metadata"]["name"].as_str().expect("a name");
            kubectl(&["delete", "pod", name, "--namespace", HOME])
                .await
                .expect("deleted");
            two(&cluster).await;
        })
        .await;
    assert_eq!(refusals, [] as [&str; 0]);
}

/// One server, called as the API server would call it: by the name of its Service, trusting the CA of the configuration.
async fn caller(cluster: &Cluster, server: &Value) -> Client {
    let api = cluster.api(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "",
    );
    let configuration = api.get(&format!("{NAME}-annotated")).await;
    let configuration = value(&configuration.expect("a configuration"));
    let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"]
        .as_str()
        .expect("a CA");
    let pem = STANDARD.decode(bundle).expect("base64");
    let (_, ca) = x509_parser::pem::parse_x509_pem(&pem).expect("PEM");
    let address = server["status"]["podIP"].as_str().expect("an address");
    let url = format!("https://{address}:8443");
    let mut config = Config::new(url.parse().expect("a URL"));
    config.root_cert = Some(vec![ca.contents]);
    config.tls_server_name = Some(format!("{NAME}.{HOME}.svc"));
    config.read_timeout = Some(Duration::from_secs(5));
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// A review of a Pod that asks: true if it comes back with a patch.
async fn reviewed(server: &Client, namespace: &str) -> bool {
    let pod = pod("asks", json!({"adapter.outrigger.dev/redis-metrics": ""}));
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": namespace,
            "userInfo": {"username": "test"},
            "dryRun": true,
            "object": pod,
        },
    });
    let request = Request::new("/mutate/annotated")
        .create(&PostParams::default(), review.to_string().into_bytes())
        .expect("a request");
    let answer: Result<Value, _> = server.request(request).await;
    answer.is_ok_and(|answer| {
        answer["response"]["allowed"] == true && answer["response"]["patch"].is_string()
    })
}

/// Lets a process of the control plane go on, whatever becomes of a test.
struct Paused(&'static str);

impl Paused {
    async fn new(name: &'static str) -> Self {
        recipe(&["pause", name]).await.expect("paused");
        Self(name)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let cluster = std::env::var("CLUSTER").expect("CLUSTER");
        let _ = std::process::Command::new(cluster)
            .args(["resume", self.0])
            .status();
    }
}

/// What a restart, or a moment of not being ready, would change.
fn standing(servers: &[Value]) -> Vec<Value> {
    let standing = |server: &Value| {
        let status = &server["status"];
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        json!([
            server["metadata"]["uid"],
            status["containerStatuses"][0]["restartCount"],
            ready.next(),
        ])
    };
    servers.iter().map(standing).collect()
}

#[tokio::test]
async fn servers_need_no_api_server_to_answer() {
    let _storm = storm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("chart-control-plane", json!({})).await;
    trusted(&cluster, &ENTRIES).await;
    space.define(&pattern("before")).await;
    let servers = two(&cluster).await;
    let mut callers = Vec::new();
    for server in &servers {
        callers.push(caller(&cluster, server).await);
    }
    let before = standing(&servers);

    // It hangs: connections stay open, and nothing comes over them.
    {
        let _paused = Paused::new("kube-apiserver").await;
        let ends = tokio::time::Instant::now() + Duration::from_secs(5);
        while tokio::time::Instant::now() < ends {
            for caller in &callers {
                assert!(reviewed(caller, &space.name).await, "an answer meanwhile");
            }
        }
    }
    // It goes and comes.
    let restart = recipe(&["restart", "kube-apiserver"]);
    let over = std::cell::Cell::new(false);
    let answers = async {
        let mut answers = 0;
        while !over.get() {
            for caller in &callers {
                assert!(reviewed(caller, &space.name).await, "an answer meanwhile");
                answers += 1;
            }
        }
        answers
    };
    let restart = async {
        restart.await.expect("restarted");
        over.set(true);
    };
    let ((), answers) = tokio::join!(restart, answers);
    assert!(answers > 0);

    // What is new is heard of.
    space.define(&pattern("after")).await;
    let asks = pod(
        "asks",
        json!({"sidecar.outrigger.dev/after": "", "sidecar.outrigger.dev/before": ""}),
    );
    let pod = space.create(&asks).await.expect("a Pod");
    assert_eq!(sidecars(&pod), ["after", "before"]);
    space.ready("asks").await;
    assert_eq!(standing(&two(&cluster).await), before, "nobody noticed");
}
