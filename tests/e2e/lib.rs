//! What the tests share: the cluster that `KUBECONFIG` names, namespaces of their own, and the commands that users type.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::Request;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Outrigger's own namespace, as `tests/e2e/run` installs it.
pub const HOME: &str = "outrigger-system";
/// The release.
pub const NAME: &str = "outrigger";
/// An image that every node has: a shell and small servers.
pub const BUSYBOX: &str = "localhost/busybox:1";

/// The longest that anything may take; a condition that holds earlier is seen earlier.
const PATIENCE: Duration = Duration::from_secs(120);

/// Held while a test runs; whoever runs the tests beside us waits, too.
#[must_use]
pub struct Weather(#[allow(dead_code)] File); // the lock goes with the file

/// For tests that only need a server that works: many at a time.
pub async fn calm() -> Weather {
    weather(File::lock_shared).await
}

/// For tests that restart, reconfigure or count: one at a time, and no other beside it.
pub async fn storm() -> Weather {
    weather(File::lock).await
}

async fn weather(lock: fn(&File) -> std::io::Result<()>) -> Weather {
    let held = tokio::task::spawn_blocking(move || {
        let file = File::create(std::env::temp_dir().join("outrigger-e2e.lock"))?;
        lock(&file)?;
        std::io::Result::Ok(file)
    });
    Weather(held.await.expect("no panic").expect("a lock"))
}

/// The cluster.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
}

impl Cluster {
    /// The one that `KUBECONFIG` names; a test without one fails.
    pub async fn connect() -> Self {
        assert!(
            std::env::var_os("KUBECONFIG").is_some(),
            "KUBECONFIG names no cluster: run tests/e2e/run"
        );
        let config = Config::infer().await.expect("a kubeconfig");
        Self {
            client: Client::try_from(config).expect("a client"),
        }
    }

    /// A namespace made for one test, with these labels and annotations, gone when the test is.
    pub async fn space(&self, name: &str, metadata: Value) -> Space {
        kubectl(&["delete", "namespace", name, "--ignore-not-found"])
            .await
            .ok();
        let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        object["metadata"]["name"] = name.into();
        apply(&object).await;
        let mut space = self.existing(name);
        space.is_own = true;
        until("the namespace's service account", async || {
            space.get("v1", "ServiceAccount", "default").await
        })
        .await;
        space
    }

    /// A namespace that is there, and stays.
    #[must_use]
    pub fn existing(&self, name: &str) -> Space {
        Space {
            cluster: self.clone(),
            name: name.to_owned(),
            is_own: false,
        }
    }

    /// An API of any kind, in a namespace or not (empty).
    pub fn api(&self, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let plural = match kind {
            "NetworkPolicy" => "networkpolicies".to_owned(),
            other => format!("{}s", other.to_lowercase()),
        };
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural,
        };
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }

    /// The server's Pods, those on their way out, too.
    pub async fn server_pods(&self) -> Vec<Value> {
        let selector = ListParams::default().labels("app.kubernetes.io/name=outrigger");
        let pods = self.api("v1", "Pod", HOME).list(&selector).await;
        pods.expect("Pods").items.iter().map(value).collect()
    }

    /// Waits until no server runs any more: one that is on its way out still heals what is taken away.
    pub async fn server_gone(&self) {
        until("the server to be gone", async || {
            self.server_pods().await.is_empty().then_some(())
        })
        .await;
    }

    /// Leaves nobody who knows the CA: the next servers have another.
    pub async fn forget_ca(&self) {
        scale(0).await;
        self.server_gone().await;
        delete_ca().await;
    }

    /// The server's Pods that are ready and not on their way out.
    pub async fn replicas(&self) -> Vec<Value> {
        let pods = self.server_pods().await;
        pods.into_iter()
            .filter(|pod| is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null())
            .collect()
    }

    /// A counter or gauge of the server, summed over its replicas, by one label.
    pub async fn metric(&self, metric: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for text in self.expositions().await {
            for line in text.lines() {
                let Some((series, count)) = line.rsplit_once(' ') else {
                    continue;
                };
                let Some(labels) = series
                    .strip_prefix(metric)
                    .and_then(|rest| rest.strip_prefix('{'))
                else {
                    continue;
                };
                let start = format!("{label}=\"");
                let of = labels
                    .split(&start)
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .unwrap_or_default();
                *sums.entry(of.to_owned()).or_default() += count.parse::<f64>().unwrap_or_default();
            }
        }
        sums
    }

    /// The metrics of each replica; of the server that `OUTRIGGER_ADMIN` names, where the cluster has no nodes.
    async fn expositions(&self) -> Vec<String> {
        if let Ok(address) = std::env::var("OUTRIGGER_ADMIN") {
            let url = format!("http://{address}/metrics");
            let text = run_with("curl", &["--silent", "--fail", &url], None).await;
            return vec![text.expect("metrics").stdout];
        }
        let mut texts = Vec::new();
        for pod in self.replicas().await {
            let name = pod["metadata"]["name"].as_str().expect("a name");
            let path = format!("/api/v1/namespaces/{HOME}/pods/{name}:8080/proxy/metrics");
            // A replica that is on its way out is no replica.
            texts.extend(kubectl(&["get", "--raw", &path]).await);
        }
        texts
    }

    /// Reviews by webhook entry.
    pub async fn reviews(&self) -> BTreeMap<String, f64> {
        self.metric("outrigger_admission_requests_total", "webhook")
            .await
    }
}

/// A namespace.
pub struct Space {
    pub cluster: Cluster,
    pub name: String,
    /// Made for a test, and gone with it.
    is_own: bool,
}

impl Drop for Space {
    fn drop(&mut self) {
        if !self.is_own {
            return;
        }
        // Nobody waits: the next run does, if it has to.
        let _ = std::process::Command::new("kubectl")
            .args(["delete", "namespace", &self.name, "--wait=false"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

impl Space {
    /// Creates an object; the error is the API server's sentence.
    pub async fn create(&self, object: &Value) -> Result<Value, String> {
        self.post(object, false).await
    }

    /// The same by server dry-run: what it would be.
    pub async fn dry_run(&self, object: &Value) -> Result<Value, String> {
        self.post(object, true).await
    }

    async fn post(&self, object: &Value, dry_run: bool) -> Result<Value, String> {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let api = self
            .cluster
            .api(&text("apiVersion"), &text("kind"), &self.name);
        let params = PostParams {
            dry_run,
            ..PostParams::default()
        };
        // As it is: what no type would let through is for the API server to judge.
        let body = object.to_string().into_bytes();
        let request = Request::new(api.resource_url())
            .create(&params, body)
            .expect("a request");
        match self.cluster.client.request::<Value>(request).await {
            Ok(created) => Ok(created),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(error) => Err(error.to_string()),
        }
    }

    pub async fn get(&self, api_version: &str, kind: &str, name: &str) -> Option<Value> {
        let api = self.cluster.api(api_version, kind, &self.name);
        api.get_opt(name)
            .await
            .expect("an answer")
            .as_ref()
            .map(value)
    }

    pub async fn list(&self, api_version: &str, kind: &str) -> Vec<Value> {
        let api = self.cluster.api(api_version, kind, &self.name);
        let found = api.list(&ListParams::default()).await.expect("a list");
        found.items.iter().map(value).collect()
    }

    /// Runs `kubectl` in the namespace.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        kubectl(&[&["--namespace", &self.name], args].concat()).await
    }

    /// `kubectl apply`: what it says on standard error, warnings among it.
    pub async fn apply(&self, object: &Value) -> Result<String, String> {
        run_with(
            "kubectl",
            &["--namespace", &self.name, "apply", "-f", "-"],
            Some(object),
        )
        .await
        .map(|output| output.stderr)
    }

    /// Waits until a Pod is Ready, and says what it is then.
    pub async fn ready(&self, pod: &str) -> Value {
        until(
            &format!("Pod {}/{pod} to be ready", self.name),
            async || self.get("v1", "Pod", pod).await.filter(is_ready),
        )
        .await
    }

    /// Waits until a Pod's object is as it should be: the server has taken notice of a pattern or binding.
    pub async fn in_use(&self, kind: &str, name: &str) -> Value {
        until(&format!("{kind} {name} to be judged"), async || {
            let object = self.get("outrigger.dev/v1alpha1", kind, name).await?;
            let observed = &object["status"]["observedGeneration"];
            (*observed == object["metadata"]["generation"]).then_some(object)
        })
        .await
    }

    /// Creates a pattern or binding and waits until every replica goes by it.
    pub async fn define(&self, object: &Value) {
        self.apply(object).await.expect("applied");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let judged = self.in_use(&kind, &name).await;
        let condition = &judged["status"]["conditions"][0];
        assert_eq!(condition["status"], "True", "{condition}");
        self.cluster.settled().await;
    }
}

impl Space {
    /// Asks for a helper by server dry-run, again and again, while something else goes on: what came of that, and each answer that was
    /// not a Pod with its helper.
    pub async fn while_pods_ask<T>(&self, work: impl Future<Output = T>) -> (T, Vec<String>) {
        let asks = pod("asks", json!({"adapter.outrigger.dev/redis-metrics": ""}));
        let over = Cell::new(false);
        let work = async {
            let outcome = work.await;
            over.set(true);
            outcome
        };
        let ask = async {
            let mut complaints = Vec::new();
            while !over.get() {
                match self.dry_run(&asks).await {
                    Ok(pod) if sidecars(&pod) == ["redis-metrics"] => {}
                    Ok(_) => complaints.push("a Pod without its helper".to_owned()),
                    Err(error) => complaints.push(error),
                }
            }
            complaints
        };
        tokio::join!(work, ask)
    }
}

/// Objects of Outrigger's own namespace, taken away again.
pub struct Home {
    pub space: Space,
    made: Mutex<Vec<[String; 2]>>,
}

impl Home {
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            space: cluster.existing(HOME),
            made: Mutex::default(),
        }
    }

    /// Defines an object, until the test is over.
    pub async fn define(&self, object: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let named = [text(&object["kind"]), text(&object["metadata"]["name"])];
        self.made.lock().expect("no panic").push(named);
        self.space.define(object).await;
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for [kind, name] in self.made.lock().expect("no panic").iter() {
            let _ = std::process::Command::new("kubectl")
                .args([
                    "--namespace",
                    HOME,
                    "delete",
                    "--ignore-not-found",
                    kind,
                    name,
                ])
                .output();
        }
    }
}

impl Cluster {
    /// Waits until every replica knows every object as it is now, so that no request meets one that has not heard yet.
    pub async fn settled(&self) {
        until("every replica to know every object", async || {
            let mut there = BTreeMap::new();
            for (kind, api_version) in [
                ("Pattern", "outrigger.dev/v1alpha1"),
                ("PatternBinding", "outrigger.dev/v1alpha1"),
            ] {
                let api = self.api(api_version, kind, "");
                let found = api.list(&ListParams::default()).await.expect("a list");
                let generations = found
                    .items
                    .iter()
                    .filter_map(|object| object.metadata.generation);
                there.insert(kind, generations.sum::<i64>());
            }
            let replicas = i64::try_from(self.expositions().await.len()).expect("few");
            let known = self
                .metric("outrigger_configuration_generation", "kind")
                .await;
            let knows = |(kind, sum): (&&str, &i64)| {
                known.get(*kind).copied().unwrap_or_default() as i64 == sum * replicas
            };
            there.iter().all(knows).then_some(())
        })
        .await;
    }
}

/// Waits for a condition, at most two minutes.
pub async fn until<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "waited two minutes for {what}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a command printed.
pub struct Output {
    pub stdout: String,
    pub stderr: String,
}

/// Runs `kubectl`: its standard output, or what it complained of.
pub async fn kubectl(args: &[&str]) -> Result<String, String> {
    run_with("kubectl", args, None)
        .await
        .map(|output| output.stdout)
}

/// Runs the `outrigger` that is tested, on this cluster.
pub async fn outrigger(args: &[&str]) -> Result<Output, String> {
    let program =
        std::env::var("OUTRIGGER").expect("OUTRIGGER names the program: run tests/e2e/run");
    run_with(&program, args, None).await
}

/// Deletes the Secret of the CA.
pub async fn delete_ca() {
    let secret = format!("{NAME}-ca");
    kubectl(&["delete", "secret", &secret, "--namespace", HOME])
        .await
        .expect("deleted");
}

/// Tells how many servers there should be.
pub async fn scale(replicas: usize) {
    let replicas = format!("--replicas={replicas}");
    let command = ["scale", "deployment", NAME, "--namespace", HOME, &replicas];
    kubectl(&command).await.expect("scaled");
}

/// Runs helm.
pub async fn helm(args: &[&str]) -> Result<String, String> {
    let program = std::env::var("HELM").expect("HELM names helm: run tests/e2e/run");
    run_with(&program, args, None)
        .await
        .map(|output| output.stdout)
}

/// Runs the recipe that made the cluster: only one of this project's own can be broken on purpose.
pub async fn recipe(args: &[&str]) -> Result<String, String> {
    let program =
        std::env::var("CLUSTER").expect("CLUSTER names tests/cluster/cluster: run tests/e2e/run");
    run_with(&program, args, None)
        .await
        .map(|output| output.stdout)
}

/// Runs a command with an object for its standard input; the error is its standard error.
pub async fn run_with(
    program: &str,
    args: &[&str],
    input: Option<&Value>,
) -> Result<Output, String> {
    run_text(
        program,
        args,
        &input.map(Value::to_string).unwrap_or_default(),
    )
    .await
}

/// Runs a command with a text for its standard input; the error is all that it says.
pub async fn run_text(program: &str, args: &[&str], input: &str) -> Result<Output, String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).await.expect("read");
    drop(stdin);
    let output = child.wait_with_output().await.expect("an end");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    if output.status.success() {
        Ok(Output { stdout, stderr })
    } else {
        Err(format!("{stdout}{stderr}"))
    }
}

/// Applies an object of no namespace, or of the one it names.
pub async fn apply(object: &Value) {
    run_with("kubectl", &["apply", "-f", "-"], Some(object))
        .await
        .expect("applied");
}

/// An object as JSON.
pub fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("JSON")
}

/// A Pod's Ready condition.
pub fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// A Pod of one container that sleeps, with these annotations.
pub fn pod(name: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": BUSYBOX, "command": ["sleep", "100000"]}],
        },
    })
}

/// A pattern whose helper sleeps and is started once it could have run.
pub fn pattern(name: &str) -> Value {
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "Pattern",
        "metadata": {"name": name},
        "spec": {
            "role": "sidecar",
            "summary": "Sleeps.",
            "params": {"type": "object", "properties": {"word": {"type": "string", "default": "hello"}}},
            "containers": [{
                "image": BUSYBOX,
                "command": ["sleep", "100000"],
                "env": [{"name": "WORD", "value": "{{ params.word }}"}],
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
                },
                "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}, "limits": {"memory": "16Mi"}},
            }],
        },
    })
}

/// A binding of a pattern, with what else its spec says.
pub fn binding(name: &str, pattern: &str, spec: Value) -> Value {
    let mut binding = json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "PatternBinding",
        "metadata": {"name": name},
        "spec": spec,
    });
    binding["spec"]["pattern"] = pattern.into();
    binding
}

/// Names of a Pod's init containers that are native sidecars.
pub fn sidecars(pod: &Value) -> Vec<String> {
    let containers = pod["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten();
    containers
        .filter(|container| container["restartPolicy"] == "Always")
        .map(|container| container["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}
