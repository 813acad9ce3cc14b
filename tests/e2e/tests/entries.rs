//! Which entry is called for which Pod: one for a Pod that wants something, none for one that wants nothing, and never two.
//!
//! Two witnesses: the servers' counters say how many reviews there were, and their logs whose. Whoever counts has the cluster to himself.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::SystemTime;

use outrigger_e2e::{
    BUSYBOX, Cluster, HOME, Home, NAME, Space, binding, calm, kubectl, outrigger, pattern, pod,
    run_with, sidecars, storm, until,
};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::chart::{Helm, Release, WIDE};

const ASKS: &str = "sidecar.outrigger.dev/entries";
const CONFIGURATION: &str = "admissionregistration.k8s.io/v1";

/// What is known of a Pod's namespace.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Plain,
    Enabled,
    Disabled,
    /// Of the cluster or of Outrigger itself.
    Excluded,
}

/// A Pod, whose entries are called for it, and which helpers it gets; `None` if it is denied.
struct Row {
    pod: Value,
    called: Vec<&'static str>,
    helpers: Option<Vec<&'static str>>,
}

/// What Pods say, and whether it makes the API server ask.
fn sayings() -> [(&'static str, Value, bool); 7] {
    let annotation = |key: &str, value: &str| json!({"annotations": {key: value}});
    let out = json!({"outrigger.dev/injection": "disabled"});
    let status = r#"{"version":1,"instances":{}}"#;
    [
        ("nothing", json!({}), false),
        ("asks", annotation(ASKS, ""), true),
        ("status", annotation("outrigger.dev/status", status), false),
        ("file", annotation("files.outrigger.dev/x.y", "z"), false),
        ("foreign", annotation("notoutrigger.dev/x", "y"), false),
        ("out", json!({"labels": out}), false),
        (
            "asks-out",
            json!({"labels": out, "annotations": {ASKS: ""}}),
            true,
        ),
    ]
}

/// Every Pod of the table in one place; `run` is a word for their names.
fn rows(place: Place, wide: bool, run: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (saying, metadata, asks) in sayings() {
        for bound in [false, true] {
            for volume in [false, true] {
                let name = format!("{run}-{saying}-{bound}-{volume}");
                let mut pod = pod(&name, json!({}));
                pod["metadata"] = metadata.clone();
                pod["metadata"]["name"] = name.into();
                if bound {
                    pod["metadata"]["labels"]["entries"] = json!("bound");
                }
                if volume {
                    pod["spec"]["volumes"] = json!([{"name": "outrigger-x", "emptyDir": {}}]);
                }
                let entry = match place {
                    Place::Excluded => None,
                    _ if asks || volume => Some("annotated"),
                    Place::Enabled => Some("namespace"),
                    Place::Plain | Place::Disabled => wide.then_some("cluster"),
                };
                let offered = bound && wide && place != Place::Disabled;
                let wanted = (asks || offered) && !saying.ends_with("out");
                rows.push(Row {
                    pod,
                    called: entry.into_iter().collect(),
                    helpers: match entry {
                        None => Some(Vec::new()),
                        Some(_) if volume => None,
                        Some(_) => Some(wanted.then_some("entries").into_iter().collect()),
                    },
                });
            }
        }
    }
    rows
}

/// Reviews by entry while `work` went on. No other Pod was made then.
async fn counted(cluster: &Cluster, work: impl AsyncFnOnce()) -> BTreeMap<String, f64> {
    let before = cluster.reviews().await;
    work().await;
    let mut counted = cluster.reviews().await;
    // Workloads are reviewed whenever their controllers write to them.
    counted.remove("advise");
    for (entry, count) in &mut counted {
        *count -= before.get(entry).copied().unwrap_or_default();
    }
    counted.retain(|_, count| *count != 0.0);
    counted
}

/// The entries that were called for each Pod, `work`'s Pods being those whose names start with `run`: one for each review there was.
async fn called(
    cluster: &Cluster,
    run: &str,
    work: impl AsyncFnOnce(),
) -> BTreeMap<String, Vec<String>> {
    let counted = counted(cluster, work).await;
    // A line is on its way for a moment after the answer.
    until(
        &format!("the servers to log no more and no less than {counted:?}"),
        async || {
            let called = by_pod(&logged(run).await);
            let mut sums: BTreeMap<String, f64> = BTreeMap::new();
            for entry in called.values().flatten() {
                *sums.entry(entry.clone()).or_default() += 1.0;
            }
            (sums == counted).then_some(called)
        },
    )
    .await
}

/// The servers' lines about Pods whose names start so, the oldest first.
async fn logged(run: &str) -> Vec<Value> {
    let selector = format!("app.kubernetes.io/name={NAME}");
    let log = [
        "--namespace",
        HOME,
        "logs",
        "--selector",
        &selector,
        "--tail=-1",
        "--since=10m",
    ];
    let log = kubectl(&log).await.unwrap_or_default();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut lines: Vec<Value> = lines
        .filter(|line: &Value| text(line, "name").starts_with(run))
        .collect();
    lines.sort_by_key(|line| text(line, "timestamp"));
    lines
}

/// The entries of each Pod.
fn by_pod(lines: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut called: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let name = format!("{}/{}", text(line, "namespace"), text(line, "name"));
        called.entry(name).or_default().push(text(line, "webhook"));
    }
    called
}

fn text(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}

/// A word that no earlier run has used: the servers' logs outlive it.
fn word() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    format!("entries-{:x}", now.expect("a time").as_millis())
}

/// Waits until whoever may still be asked is one who is counted: a server that is on its way out answers on old connections.
async fn rolled_out(cluster: &Cluster) {
    let home = cluster.existing(HOME);
    until("a rollout to be over", async || {
        let deployment = home.get("apps/v1", "Deployment", NAME).await?;
        let pods = home.list("v1", "Pod").await;
        let ready = cluster.replicas().await.len();
        (pods.len() == ready
            && deployment["status"]["replicas"] == ready
            && deployment["spec"]["replicas"] == ready)
            .then_some(())
    })
    .await;
    cluster.settled().await;
}

/// Creates the table's Pods in each place, and holds what happened against it.
async fn hold(cluster: &Cluster, places: &[(Place, &Space)], wide: bool) {
    let run = word();
    let mut expected = BTreeMap::new();
    let mut faults = Vec::new();
    let found = called(cluster, &run, async || {
        for (place, space) in places {
            for Row {
                pod,
                called,
                helpers,
            } in rows(*place, wide, &run)
            {
                let name = format!(
                    "{}/{}",
                    space.name,
                    pod["metadata"]["name"].as_str().expect("a name")
                );
                let created = space.dry_run(&pod).await;
                let same = match (&created, &helpers) {
                    (Ok(created), Some(helpers)) => sidecars(created) == *helpers,
                    (Err(denial), None) => {
                        denial.contains("volume `outrigger-x` is one of Outrigger's")
                    }
                    _ => false,
                };
                if !same {
                    faults.push(format!("{name}: expected {helpers:?}, found {created:?}"));
                }
                if !called.is_empty() {
                    expected.insert(
                        name,
                        called.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    );
                }
            }
        }
    })
    .await;
    assert!(
        faults.is_empty(),
        "{} with `clusterWide.enabled={wide}`:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(found, expected, "with `clusterWide.enabled={wide}`");
}

#[tokio::test]
async fn a_pod_is_asked_about_once_or_not_at_all() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let label = |value: &str| json!({"labels": {"outrigger.dev/injection": value}});
    let plain = cluster.space("entries-plain", json!({})).await;
    let enabled = cluster.space("entries-enabled", label("enabled")).await;
    let disabled = cluster.space("entries-disabled", label("disabled")).await;
    let excluded =
        ["kube-system", "kube-public", "kube-node-lease", HOME].map(|name| cluster.existing(name));
    let mut places = vec![
        (Place::Plain, &plain),
        (Place::Enabled, &enabled),
        (Place::Disabled, &disabled),
    ];
    places.extend(excluded.iter().map(|space| (Place::Excluded, space)));
    let home = Home::new(&cluster);
    home.define(&pattern("entries")).await;
    let bound = json!({"match": {"podSelector": {"matchLabels": {"entries": "bound"}}}});
    home.define(&binding("entries", "entries", bound)).await;
    rolled_out(&cluster).await;
    hold(&cluster, &places, true).await;

    Helm::new("helm").upgrade(&[]).await;
    rolled_out(&cluster).await;
    until("the API server to know that an entry is gone", async || {
        let work = async || drop(plain.dry_run(&pod("unrelated", json!({}))).await);
        counted(&cluster, work).await.is_empty().then_some(())
    })
    .await;
    hold(&cluster, &places, false).await;
}

#[tokio::test]
async fn only_the_creation_of_a_pod_is_asked_about() {
    let _storm = storm().await;
    let cluster = Cluster::connect().await;
    let space = cluster
        .space(
            "entries-operations",
            json!({"labels": {"outrigger.dev/injection": "enabled"}}),
        )
        .await;
    space.define(&pattern("entries")).await;
    rolled_out(&cluster).await;
    let work = async || {
        space
            .create(&pod("asks", json!({ASKS: ""})))
            .await
            .expect("a Pod");
        space.ready("asks").await;
    };
    assert_eq!(
        counted(&cluster, work).await,
        BTreeMap::from([("annotated".to_owned(), 1.0)])
    );
    let image = format!("--image={BUSYBOX}");
    let work = async || {
        for change in [
            &["label", "pod", "asks", "tier=web"][..],
            &[
                "annotate",
                "pod",
                "asks",
                "sidecar.outrigger.dev/another=true",
            ],
            &[
                "patch",
                "pod",
                "asks",
                "--subresource=status",
                "-p",
                r#"{"status": {"message": "hello"}}"#,
            ],
            &[
                "patch",
                "pod",
                "asks",
                "--subresource=resize",
                "-p",
                r#"{"spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "1m"}}}]}}"#,
            ],
            &["debug", "asks", &image, "--attach=false", "--", "true"],
            &["delete", "pod", "asks"],
        ] {
            space
                .kubectl(change)
                .await
                .unwrap_or_else(|error| panic!("{change:?}: {error}"));
        }
    };
    assert_eq!(counted(&cluster, work).await, BTreeMap::new());
}

/// What is odd about a Pod: what of it is set (or taken out), and whether it asks then.
type Oddity = (&'static str, &'static str, Option<Value>, bool);

fn oddities() -> Vec<Oddity> {
    let many = |count: usize| (0..count).map(|number| (format!("k{number}"), json!("")));
    let volumes = |count: usize| {
        (0..count).map(|number| json!({"name": format!("v{number}"), "emptyDir": {}}))
    };
    let mut late: Map<String, Value> = many(5_000).collect();
    late.insert("z.outrigger.dev/x".to_owned(), json!(""));
    let mut odd = vec![
        ("/metadata", "annotations", None, false),
        ("/metadata", "annotations", Some(Value::Null), false),
        ("/metadata", "annotations", Some(json!({})), false),
        (
            "/metadata",
            "annotations",
            Some(json!({"example.com/x": null})),
            false,
        ),
        (
            "/metadata",
            "annotations",
            Some(many(5_000).collect()),
            false,
        ),
        ("/metadata", "annotations", Some(late.into()), true),
        ("/metadata", "labels", Some(Value::Null), false),
        ("/spec", "volumes", Some(Value::Null), false),
        ("/spec", "volumes", Some(json!([])), false),
        ("/spec", "volumes", Some(json!([null])), false),
        ("/spec", "volumes", Some(json!([{}])), false),
        (
            "/spec",
            "volumes",
            Some(json!([{"name": "outrigger"}, {"name": "my-outrigger-x"}])),
            false,
        ),
        (
            "/spec",
            "volumes",
            Some(json!([{"name": "outrigger-"}])),
            true,
        ),
        ("/spec", "volumes", Some(volumes(5_000).collect()), false),
        ("/spec", "containers", None, false),
        ("/spec", "containers", Some(json!([])), false),
        ("/spec", "initContainers", Some(Value::Null), false),
        ("", "spec", Some(Value::Null), false),
        ("", "spec", Some(json!({})), false),
        ("", "spec", None, false),
    ];
    for (key, asks) in [
        ("a.outrigger.dev/x", true),
        ("a.b.outrigger.dev/x", true),
        ("outrigger.dev/x", true),
        ("outrigger.dev/status.x", true),
        ("xfiles.outrigger.dev/x.y", true),
        ("files.outrigger.dev/", false),
        ("outrigger.dev", false),
        ("a.outrigger.dev", false),
        ("x-outrigger.dev/y", false),
        ("outrigger.dev.example.com/x", false),
        ("example.com/outrigger.dev", false),
        ("example.com/a.outrigger.dev", false),
    ] {
        odd.push(("/metadata", "annotations", Some(json!({key: ""})), asks));
    }
    odd
}

#[tokio::test]
async fn no_pod_is_too_odd_for_the_conditions() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-odd", json!({})).await;
    let run = word();
    let mut expected = BTreeMap::new();
    for (number, (part, field, value, asks)) in oddities().into_iter().enumerate() {
        let name = format!("{run}-{number}");
        let mut pod = pod(&name, json!({}));
        let parent = pod
            .pointer_mut(part)
            .and_then(Value::as_object_mut)
            .expect("a mapping");
        parent.shift_remove(field);
        if let Some(value) = value {
            parent.insert(field.to_owned(), value);
        }
        // Many of them are no Pods; that is for the API server to say, after it has asked us.
        let error = space.dry_run(&pod).await.err().unwrap_or_default();
        assert!(
            !error.contains("match condition"),
            "{part}/{field}: {error}"
        );
        let entry = if asks { "annotated" } else { "cluster" };
        expected.insert(format!("{}/{name}", space.name), vec![entry.to_owned()]);
    }
    let mut unnamed = pod("", json!({}));
    unnamed["metadata"] = json!({"generateName": format!("{run}-unnamed-")});
    space.dry_run(&unnamed).await.expect("a Pod");
    expected.insert(
        format!("{}/{run}-unnamed-", space.name),
        vec!["cluster".to_owned()],
    );
    // An entry that is ignored when its conditions err is one that is not called.
    let found = until("the servers to have logged every odd Pod", async || {
        let found = by_pod(&logged(&run).await);
        (found.len() == expected.len()).then_some(found)
    })
    .await;
    assert_eq!(found, expected);
}

/// A webhook of somebody else's, which comes after ours and changes the Pods of one namespace.
struct Foreign {
    #[allow(dead_code)] // it serves while it is held
    server: Child,
}

impl Foreign {
    const NAME: &str = "zz-entries-foreign";

    /// On this machine: the API server has to run here as well.
    async fn new(space: &Space) -> Self {
        use base64::Engine;
        let directory = std::env::temp_dir().join("outrigger-e2e-foreign");
        let file = |name: &str| directory.join(name).display().to_string();
        outrigger(&[
            "certs",
            "--directory",
            &directory.display().to_string(),
            "127.0.0.1",
        ])
        .await
        .expect("certificates");
        let mut server = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign.py"))
            .args([&*file("tls.crt"), &file("tls.key"), BUSYBOX])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3");
        let stdout = BufReader::new(server.stdout.take().expect("a pipe"));
        let port = stdout
            .lines()
            .next_line()
            .await
            .expect("a line")
            .expect("a port");
        let ca = std::fs::read(file("ca.pem")).expect("a CA");
        let ca = base64::engine::general_purpose::STANDARD.encode(ca);
        let configuration = json!({
            "apiVersion": CONFIGURATION,
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": Self::NAME},
            "webhooks": [{
                "name": "foreign.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {"url": format!("https://127.0.0.1:{port}/"), "caBundle": ca},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
            }],
        });
        let foreign = Self { server };
        run_with("kubectl", &["apply", "-f", "-"], Some(&configuration))
            .await
            .expect("applied");
        foreign
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kubectl")
            .args([
                "delete",
                "mutatingwebhookconfiguration",
                Self::NAME,
                "--ignore-not-found",
            ])
            .output();
    }
}

/// Ours and the foreign one's, each once.
fn both(pod: &Value) -> bool {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    sidecars(pod) == ["entries"]
        && containers
            .map(|container| &container["name"])
            .eq(["app", "foreign"])
}

#[tokio::test]
async fn a_foreign_webhook_makes_a_second_round_in_which_nothing_changes() {
    let _storm = storm().await;
    let _release = Release;
    let cluster = Cluster::connect().await;
    let space = cluster.space("entries-foreign", json!({})).await;
    space.define(&pattern("entries")).await;
    let _foreign = Foreign::new(&space).await;
    rolled_out(&cluster).await;
    let asks = |name: &str| pod(name, json!({ASKS: ""}));
    let one_round = until("the foreign webhook to be called", async || {
        space.dry_run(&asks("one-round")).await.ok().filter(both)
    })
    .await;
    let once = BTreeMap::from([("annotated".to_owned(), 1.0)]);
    let work = async || drop(space.dry_run(&asks("one-round")).await);
    assert_eq!(counted(&cluster, work).await, once);

    let again = ["--set", "webhooks.reinvocationPolicy=IfNeeded"];
    Helm::new("helm").upgrade(&[WIDE, &again].concat()).await;
    until("the API server to know the other policy", async || {
        let work = async || drop(space.dry_run(&asks("two-rounds")).await);
        let twice = BTreeMap::from([("annotated".to_owned(), 2.0)]);
        (counted(&cluster, work).await == twice).then_some(())
    })
    .await;
    let run = word();
    let made = space.create(&asks(&run)).await.expect("a Pod");
    assert!(both(&made), "{made:#}");
    assert_eq!(
        made["metadata"]["annotations"],
        one_round["metadata"]["annotations"]
    );
    let rounds = until("the servers to have logged both rounds", async || {
        let lines = logged(&run).await;
        (lines.len() == 2).then_some(lines)
    })
    .await;
    assert_eq!(
        (text(&rounds[0], "verdict"), text(&rounds[1], "verdict")),
        ("injected".to_owned(), "unchanged".to_owned())
    );
    assert_eq!(rounds[1]["patch_bytes"], 0);
    space.ready(&run).await;

    // What is stored, sent again, is what it is: for one round nobody has anything to add.
    let mut again = made.clone();
    let metadata = again["metadata"].as_object_mut().expect("a mapping");
    metadata.retain(|key, _| ["annotations", "labels"].contains(&key.as_str()));
    metadata.insert("name".to_owned(), json!("again"));
    let mut stored = Value::Null;
    let work = async || stored = space.dry_run(&again).await.expect("a Pod");
    assert_eq!(counted(&cluster, work).await, once);
    assert_eq!(stored["spec"], made["spec"]);
    assert_eq!(
        stored["metadata"]["annotations"],
        made["metadata"]["annotations"]
    );
}
