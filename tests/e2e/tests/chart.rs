//! The chart in the hands of both helms: what an upgrade, a rollback, another mode of certificates and an uninstall do to the cluster,
//! and to whoever creates Pods meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::api::ListParams;
use outrigger_e2e::{
    Cluster, HOME, Home, NAME, Space, helm, kubectl, outrigger, pattern, pod, run_with, sidecars,
    storm, until, value,
};
use serde_json::{Value, json};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/outrigger");

/// The values that the tests are installed with, and the chart's own.
pub(crate) const WIDE: &[&str] = &["--set", "clusterWide.enabled=true"];
const NARROW: &[&str] = &[];

pub(crate) const ENTRIES: [&str; 4] = ["annotated", "namespace", "cluster", "advise"];

/// The longest that a webhook configuration may be there without the right CA.
const SECONDS: Duration = Duration::from_secs(10);

/// The release as it was found, whatever becomes of a test: made after the lock, it goes before it.
pub(crate) struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        let restored = std::thread::spawn(|| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(restore());
        });
        assert!(
            restored.join().is_ok() || std::thread::panicking(),
            "the release is not as it was found"
        );
    }
}

async fn restore() {
    let cluster = Cluster::connect().await;
    // Whoever scaled or applied by hand loses.
    let found = [
        &["upgrade", NAME, CHART, "--install", "--namespace", HOME][..],
        &["--reset-values", "--server-side=true", "--force-conflicts"],
        &["--wait", "--timeout=2m"],
        WIDE,
    ]
    .concat();
    if helm(&found).await.is_err() {
        let _ = helm(&["uninstall", NAME, "--namespace", HOME, "--wait"]).await;
        take_away().await;
        helm(&found).await.expect("a release");
    }
    trusted(&cluster, &ENTRIES).await;
    two(&cluster).await;
}

/// One of the two programs, which `tests/chart/tools` builds side by side.
pub(crate) struct Helm(PathBuf);

impl Helm {
    pub(crate) fn new(name: &str) -> Self {
        let helm = std::env::var_os("HELM").expect("HELM names helm: run tests/e2e/run");
        Self(Path::new(&helm).with_file_name(name))
    }

    /// All that it says, or all that it says of a failure.
    async fn run(&self, args: &[&str]) -> Result<String, String> {
        let program = self.0.to_str().expect("UTF-8");
        let args = [args, &["--namespace", HOME]].concat();
        let done = run_with(program, &args, None).await?;
        Ok(done.stdout + &done.stderr)
    }

    /// With the chart's values and these, and no others.
    pub(crate) async fn upgrade(&self, values: &[&str]) {
        let args = ["upgrade", NAME, CHART, "--reset-values", "--wait"];
        self.run(&[&args, values].concat()).await.expect("upgraded");
    }

    async fn install(&self, values: &[&str]) {
        let args = ["install", NAME, CHART, "--wait"];
        self.run(&[&args, values].concat())
            .await
            .expect("installed");
    }

    async fn uninstall(&self) {
        let args = ["uninstall", NAME, "--wait"];
        self.run(&args).await.expect("uninstalled");
    }
}

/// A webhook configuration, if it is there.
async fn configuration(cluster: &Cluster, entry: &str) -> Option<Value> {
    let kind = match entry {
        "advise" => "ValidatingWebhookConfiguration",
        _ => "MutatingWebhookConfiguration",
    };
    let api = cluster.api("admissionregistration.k8s.io/v1", kind, "");
    let found = api.get_opt(&format!("{NAME}-{entry}")).await;
    found.expect("an answer").as_ref().map(value)
}

/// Waits until the API server trusts the CAs of the Secret in each of these entries.
pub(crate) async fn trusted(cluster: &Cluster, entries: &[&str]) {
    until("the right caBundle", async || {
        let secrets = cluster.api("v1", "Secret", HOME);
        let secret = secrets.get_opt(&format!("{NAME}-ca")).await.ok()??;
        let bundle = &value(&secret)["data"]["ca.crt"];
        for entry in entries {
            let found = configuration(cluster, entry).await?;
            (found["webhooks"][0]["clientConfig"]["caBundle"] == *bundle).then_some(())?;
        }
        Some(())
    })
    .await;
}

/// Waits until there are two servers, and those of an earlier revision have ended: up to then a connection to them could be in use.
pub(crate) async fn two(cluster: &Cluster) -> Vec<Value> {
    until("two servers", async || {
        let servers = ListParams::default().labels("app.kubernetes.io/name=outrigger");
        let all = cluster.api("v1", "Pod", HOME).list(&servers).await.ok()?;
        let ready = cluster.replicas().await;
        (all.items.len() == 2 && ready.len() == 2).then_some(ready)
    })
    .await
}

/// Creates a Pod that asks, as soon as somebody can be asked: a ready server is one of the Service's endpoints a moment later.
async fn reached(space: &Space, pod: &Value) -> Value {
    until("a server that can be reached", async || {
        let created = space.create(pod).await;
        let unreachable = |refused: &String| refused.contains("connection refused");
        (!created.as_ref().is_err_and(unreachable)).then_some(created)
    })
    .await
    .expect("a Pod")
}

/// What a needless restart or write would change.
async fn generations(cluster: &Cluster) -> Vec<Value> {
    let deployments = cluster.api("apps/v1", "Deployment", HOME);
    let mut found = vec![value(&deployments.get(NAME).await.expect("a Deployment"))];
    for entry in ENTRIES {
        found.push(configuration(cluster, entry).await.expect("an entry"));
    }
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    found.iter().map(generation).collect()
}

/// Upgrades that make the cluster's entry go and come.
async fn off_and_on(cluster: &Cluster, off: &Helm, on: &Helm) {
    off.upgrade(NARROW).await;
    assert_eq!(configuration(cluster, "cluster").await, None);
    on.upgrade(WIDE).await;
    comes(cluster).await;
}

/// The cluster's entry is there, and of use.
async fn comes(cluster: &Cluster) {
    let started = Instant::now();
    trusted(cluster, &["cluster"]).await;
    assert!(started.elapsed() < SECONDS, "{:?}", started.elapsed());
}

#[tokio::test]
async fn upgrades_and_rollbacks_refuse_no_pod() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let space = cluster.space("chart-upgrade", json!({})).await;
    let helm = Helm::new("helm");

    helm.upgrade(WIDE).await;
    let before = generations(&cluster).await;
    helm.upgrade(WIDE).await;
    assert_eq!(
        generations(&cluster).await,
        before,
        "an upgrade to the same is none"
    );

    let (_, refusals) = space
        .while_pods_ask(async {
            off_and_on(&cluster, &helm, &helm).await;
            let back = ["rollback", NAME, "--wait"];
            helm.run(&back).await.expect("rolled back");
            assert_eq!(configuration(&cluster, "cluster").await, None);
            helm.run(&back).await.expect("rolled back");
            comes(&cluster).await;
            two(&cluster).await;
        })
        .await;
    assert_eq!(refusals, [] as [&str; 0]);
}

#[tokio::test]
async fn helm_tests_what_it_installed() {
    let _storm = storm().await;
    let _release = Release;
    for program in ["helm", "helm3"] {
        let said = Helm::new(program).run(&["test", NAME]).await;
        let said = said.expect("success");
        let sentence = "a Pod of namespace `default` that asks for `redis-metrics` gets it";
        assert!(said.contains(sentence), "{program}: {said}");
    }
    let scale = ["scale", "deployment", NAME, "--replicas=0"];
    kubectl(&[&["--namespace", HOME], &scale[..]].concat())
        .await
        .expect("scaled");
    let cluster = Cluster::connect().await;
    cluster.server_gone().await;
    for program in ["helm", "helm3"] {
        let said = Helm::new(program).run(&["test", NAME]).await;
        let said = said.expect_err("a failure");
        let sentence = "error: the API server refuses the Pod: Internal error occurred: failed calling webhook";
        assert!(said.contains(sentence), "{program}: {said}");
    }
    // The one that failed is left to be looked at, its rights are not.
    let home = Home::new(&cluster);
    let left = home.space.get("v1", "Pod", "outrigger-test").await;
    assert!(left.is_some());
    let rights = kubectl(&["get", "role,rolebinding,serviceaccount", "--all-namespaces"]).await;
    assert!(!rights.expect("a list").contains("outrigger-test"));
    home.space
        .kubectl(&["delete", "pod", "outrigger-test"])
        .await
        .expect("deleted");
}

#[tokio::test]
async fn an_upgrade_brings_new_definitions() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let space = cluster.space("chart-definitions", json!({})).await;
    space.define(&pattern("sleepy")).await;
    let columns = async || {
        let table = space.kubectl(&["get", "patterns"]).await.expect("a table");
        table.lines().next().unwrap_or_default().to_owned()
    };
    let there = columns().await;
    assert!(there.contains("READY"), "{there}");

    // The definition as an older chart would have applied it.
    let definitions = cluster.api("apiextensions.k8s.io/v1", "CustomResourceDefinition", "");
    let name = "patterns.outrigger.dev";
    let mut older = value(&definitions.get(name).await.expect("a definition"));
    let metadata = &older["metadata"];
    let (labels, annotations) = (&metadata["labels"], &metadata["annotations"]);
    older["metadata"] = json!({"name": name, "labels": labels, "annotations": annotations});
    older["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array_mut()
        .expect("columns")
        .retain(|column| column["name"] != "Ready");
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=helm",
        "--filename=-",
    ];
    run_with("kubectl", &apply, Some(&older))
        .await
        .expect("applied");
    until("the column to be gone", async || {
        (!columns().await.contains("READY")).then_some(())
    })
    .await;

    Helm::new("helm").upgrade(WIDE).await;
    until("the column to be back", async || {
        (columns().await == there).then_some(())
    })
    .await;
}

/// Every object that is Outrigger's by name, label or namespace. Not Events, and not what people made of its definitions.
async fn ours() -> BTreeSet<String> {
    let kinds = ["api-resources", "--verbs=list", "--output=name"];
    let kinds = kubectl(&kinds).await.expect("kinds");
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && !kind.ends_with(".outrigger.dev"))
        .collect();
    let all = ["get", &kinds.join(","), "--all-namespaces", "--output=json"];
    let all = kubectl(&all).await.expect("objects");
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let objects = all["items"].as_array().into_iter().flatten();
    objects
        .filter_map(|object| {
            let metadata = &object["metadata"];
            let [kind, name] = [&object["kind"], &metadata["name"]].map(|text| text.as_str());
            let (kind, name) = (kind?, name?);
            let namespace = metadata["namespace"].as_str().unwrap_or_default();
            let mut labels = metadata["labels"].as_object().into_iter().flatten();
            let is_ours = namespace == HOME
                || name.contains("outrigger")
                || labels.any(|(_, value)| value == "outrigger");
            is_ours.then(|| format!("{kind} {namespace}/{name}"))
        })
        .collect()
}

/// Waits until nothing is left but what nobody may take from its owner, and what the cluster itself makes for it.
async fn left() {
    let expected = [
        "APIService /v1alpha1.outrigger.dev",
        "ConfigMap outrigger-system/kube-root-ca.crt",
        "CustomResourceDefinition /patternbindings.outrigger.dev",
        "CustomResourceDefinition /patterns.outrigger.dev",
        "Namespace /outrigger-system",
        "Secret outrigger-system/outrigger-ca",
        "ServiceAccount outrigger-system/default",
    ];
    let expected: BTreeSet<String> = expected.map(str::to_owned).into();
    // Its Pods serve on for a while.
    until("the rest to be gone", async || {
        let there = ours().await;
        assert!(there.is_superset(&expected), "{there:#?}");
        (there == expected).then_some(())
    })
    .await;
}

/// What `manifests/install.yaml` brings, but for the definitions and the namespace.
const APPLIED: &str = "mutatingwebhookconfigurations,validatingwebhookconfigurations,deployments,services,poddisruptionbudgets,\
    resourcequotas,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
    validatingadmissionpolicybindings";

/// Takes away what was applied without Helm.
async fn take_away() {
    let delete = ["delete", APPLIED, "--namespace", HOME];
    let selector = ["--selector", "app.kubernetes.io/part-of=outrigger"];
    let _ = kubectl(&[&delete[..], &selector].concat()).await;
    // What stays is not kubectl's any more: an object without fields gives its fields up.
    for (api_version, kind, name) in [
        ("v1", "Namespace", HOME),
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "patterns.outrigger.dev",
        ),
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "patternbindings.outrigger.dev",
        ),
    ] {
        let bare = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        let apply = ["apply", "--server-side", "--filename=-"];
        let _ = run_with("kubectl", &apply, Some(&bare)).await;
    }
}

#[tokio::test]
async fn an_uninstall_leaves_what_is_yours() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let space = cluster.space("chart-kept", json!({})).await;
    space.define(&pattern("kept")).await;
    let asks = |name: &str| pod(name, json!({"sidecar.outrigger.dev/kept": ""}));
    let helm = Helm::new("helm");

    let (_, answers) = space.while_pods_ask(helm.uninstall()).await;
    let without = "a Pod without its helper";
    assert!(
        answers.iter().all(|answer| answer == without),
        "{answers:#?}"
    );
    left().await;
    let created = space.create(&asks("nobody-saw-it")).await;
    assert_eq!(sidecars(&created.expect("a Pod")), [] as [&str; 0]);
    space.ready("nobody-saw-it").await;
    let kept = space.get("outrigger.dev/v1alpha1", "Pattern", "kept").await;
    assert!(kept.is_some(), "people's own objects stay");

    // Another way to install the same.
    let apply = "\"$OUTRIGGER\" install | kubectl apply --server-side --filename=-";
    run_with("sh", &["-c", apply], None).await.expect("applied");
    let status = ["rollout", "status", "deployment/outrigger"];
    kubectl(&[&["--namespace", HOME, "--timeout=2m"], &status[..]].concat())
        .await
        .expect("ready");
    let created = reached(&space, &asks("by-manifests")).await;
    assert_eq!(sidecars(&created), ["kept"]);
    assert_eq!(configuration(&cluster, "cluster").await, None);
    take_away().await;
    left().await;

    // The definitions were a release's before.
    helm.install(WIDE).await;
    trusted(&cluster, &ENTRIES).await;
    let created = reached(&space, &asks("back")).await;
    assert_eq!(sidecars(&created), ["kept"]);
}

#[tokio::test]
async fn helm_3_does_the_same() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let space = cluster.space("chart-helm-3", json!({})).await;
    let (three, four) = (Helm::new("helm3"), Helm::new("helm"));
    four.uninstall().await;
    three.install(WIDE).await;
    trusted(&cluster, &ENTRIES).await;
    let (_, refusals) = space
        .while_pods_ask(async {
            off_and_on(&cluster, &three, &three).await;
            let back = ["rollback", NAME, "--wait"];
            three.run(&back).await.expect("rolled back");
            // A release that changes hands.
            off_and_on(&cluster, &three, &four).await;
            two(&cluster).await;
        })
        .await;
    assert_eq!(refusals, [] as [&str; 0]);
    three.uninstall().await;
    left().await;
}

/// A certificate of the test's own making, and the Secret that it is in. To be made before the release is touched: servers mount it.
struct Pair(PathBuf);

impl Pair {
    const SECRET: &str = "chart-tls";

    async fn new() -> Self {
        let pair = Self(std::env::temp_dir().join(format!("outrigger-e2e-{}", std::process::id())));
        pair.issue().await;
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| pair.path(name));
        let create = ["create", "secret", "tls", Self::SECRET, "--namespace", HOME];
        let files = ["--cert", &certificate, "--key", &key];
        kubectl(&[&create[..], &files].concat())
            .await
            .expect("created");
        pair
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// A new certificate of the same CA, and when it ends.
    async fn issue(&self) -> i64 {
        let directory = self.0.display().to_string();
        let host = format!("{NAME}.{HOME}.svc");
        outrigger(&["certs", "--directory", &directory, &host])
            .await
            .expect("a certificate");
        self.end()
    }

    fn end(&self) -> i64 {
        let pem = std::fs::read(self.0.join("tls.crt")).expect("a certificate");
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).expect("PEM");
        let certificate = pem.parse_x509().expect("a certificate");
        certificate.validity().not_after.timestamp()
    }

    async fn write(&self) {
        let [certificate, key] = ["tls.crt", "tls.key"]
            .map(|name| STANDARD.encode(std::fs::read(self.0.join(name)).expect("a file")));
        let patch = json!({"data": {"tls.crt": certificate, "tls.key": key}}).to_string();
        let command = ["patch", "secret", Self::SECRET, "--namespace", HOME];
        kubectl(&[&command[..], &["--patch", &patch]].concat())
            .await
            .expect("patched");
    }

    /// Waits until both servers show it.
    async fn in_use(&self, cluster: &Cluster) {
        let end = self.end();
        until("the certificate to be in use", async || {
            let metric = "outrigger_certificate_not_after_timestamp_seconds";
            let ends = cluster.metric(metric, "role").await;
            (ends.get("leaf") == Some(&(2.0 * end as f64))).then_some(())
        })
        .await;
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kubectl")
            .args(["delete", "secret", Self::SECRET, "--namespace", HOME])
            .output();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_certificate_of_your_own_is_renewed_under_way() {
    let _storm = storm().await;
    let pair = Pair::new().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let space = cluster.space("chart-certificate", json!({})).await;
    let helm = Helm::new("helm");

    // Two CAs, for as long as servers of both kinds run.
    let theirs = ["get", "secret", "outrigger-ca", "--namespace", HOME];
    let theirs = kubectl(&[&theirs[..], &["--output=jsonpath={.data.ca\\.crt}"]].concat()).await;
    let theirs = STANDARD.decode(theirs.expect("a CA")).expect("base64");
    let ours = std::fs::read(pair.path("ca.pem")).expect("a CA");
    let both = pair.path("both.pem");
    std::fs::write(&both, [theirs, ours].concat()).expect("written");
    let secret = format!("tls.existingSecret={}", Pair::SECRET);
    let bundle = format!("tls.caBundle={both}");
    let values = ["--set", "tls.mode=existingSecret", "--set", &secret];
    // The field was the server's.
    let values = [
        &values[..],
        &["--set-file", &bundle, "--force-conflicts"],
        WIDE,
    ]
    .concat();
    let (_, refusals) = space
        .while_pods_ask(async {
            helm.upgrade(&values).await;
            two(&cluster).await;
        })
        .await;
    assert_eq!(refusals, [] as [&str; 0]);
    pair.in_use(&cluster).await;

    let servers = async || -> Vec<Value> {
        let replicas = cluster.replicas().await;
        let who = |pod: &Value| {
            json!([
                pod["metadata"]["uid"],
                pod["status"]["containerStatuses"][0]["restartCount"]
            ])
        };
        replicas.iter().map(who).collect()
    };
    let before = servers().await;
    let (old, new) = (pair.end(), pair.issue().await);
    assert!(old < new);
    let (_, refusals) = space
        .while_pods_ask(async {
            pair.write().await;
            // A kubelet looks at what its Pods mount each minute, and when they change.
            let selector = "app.kubernetes.io/name=outrigger";
            let nudge = [
                "annotate",
                "pods",
                "--namespace",
                HOME,
                "--selector",
                selector,
            ];
            kubectl(&[&nudge[..], &["test/nudge=now"]].concat())
                .await
                .expect("annotated");
            pair.in_use(&cluster).await;
        })
        .await;
    assert_eq!(refusals, [] as [&str; 0]);
    assert_eq!(servers().await, before, "nothing was restarted");

    // And back: what the chart gives up, the server takes.
    helm.upgrade(WIDE).await;
    trusted(&cluster, &ENTRIES).await;
    two(&cluster).await;
    let (_, refusals) = space
        .while_pods_ask(tokio::time::sleep(Duration::from_millis(200)))
        .await;
    assert_eq!(refusals, [] as [&str; 0]);
}

#[tokio::test]
async fn webhooks_that_were_deleted_come_back() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let space = cluster.space("chart-emergency", json!({})).await;
    let asks = pod("asks", json!({"adapter.outrigger.dev/redis-metrics": ""}));

    // As the README says.
    let delete = "kubectl delete mutatingwebhookconfiguration outrigger-annotated outrigger-namespace outrigger-cluster --ignore-not-found";
    run_with("sh", &["-c", delete], None)
        .await
        .expect("deleted");
    until("Pods to be left alone", async || {
        let pod = space.dry_run(&asks).await.expect("a Pod");
        sidecars(&pod).is_empty().then_some(())
    })
    .await;
    let back = ["upgrade", NAME, CHART, "--reuse-values"];
    Helm::new("helm").run(&back).await.expect("upgraded");
    let started = Instant::now();
    trusted(&cluster, &ENTRIES).await;
    assert!(started.elapsed() < SECONDS, "{:?}", started.elapsed());
    until("Pods to get what they ask for", async || {
        let pod = space.dry_run(&asks).await.ok()?;
        (sidecars(&pod) == ["redis-metrics"]).then_some(())
    })
    .await;
}
