//! Every fixture, on a real API server: what it stores of the original Pod, it stores of `outrigger inject`'s output as well, and a
//! fixture that is denied is denied with the same words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kube::api::{Api, DeleteParams, Patch, PatchParams};
use outrigger::manifest;
use outrigger_e2e::{Cluster, HOME, storm, until};
use serde_json::{Map, Value, json};

/// Objects of a YAML file, Lists opened.
fn objects(file: &Path) -> Vec<Value> {
    let Ok(bytes) = std::fs::read(file) else {
        return Vec::new();
    };
    let (documents, complaints) = manifest::parse(&file.display().to_string(), bytes);
    assert_eq!(complaints, []);
    documents
        .iter()
        .flat_map(manifest::objects)
        .map(|object| object.value.clone())
        .collect()
}

/// Each Pod template of a file as a Pod of its own, with its namespace.
fn pods(file: &Path) -> Vec<(String, Value)> {
    let mut pods = Vec::new();
    for object in objects(file) {
        let namespace = object["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default");
        for template in manifest::templates(&object) {
            let part = manifest::get(&object, &template.path()).expect("a template");
            let mut pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": part.get("metadata").cloned().unwrap_or_else(|| json!({})),
                "spec": part["spec"],
            });
            let metadata = pod["metadata"].as_object_mut().expect("a mapping");
            metadata.insert("name".to_owned(), json!("fixture"));
            metadata.insert("namespace".to_owned(), namespace.into());
            metadata.shift_remove("generateName");
            metadata.shift_remove("creationTimestamp");
            // As the StatefulSet controller does.
            for claim in object["spec"]["volumeClaimTemplates"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let name = &claim["metadata"]["name"];
                let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
                let volumes = pod["spec"]
                    .as_object_mut()
                    .expect("a mapping")
                    .entry("volumes");
                volumes
                    .or_insert_with(|| json!([]))
                    .as_array_mut()
                    .expect("a list")
                    .push(volume);
            }
            pods.push((namespace.to_owned(), pod));
        }
    }
    pods
}

/// The cluster as a fixture's context says, and nothing else of ours in it.
struct Stage<'a>(&'a Cluster);

impl Stage<'_> {
    async fn set(&self, context: &[Value], namespaces: &[String]) {
        for kind in ["PatternBinding", "Pattern"] {
            let everywhere = self.0.api("outrigger.dev/v1alpha1", kind, "");
            for object in everywhere.list(&Default::default()).await.expect("a list") {
                let namespace = object.metadata.namespace.expect("a namespace");
                let api = self.0.api("outrigger.dev/v1alpha1", kind, &namespace);
                let name = object.metadata.name.expect("a name");
                api.delete(&name, &DeleteParams::default())
                    .await
                    .expect("deleted");
            }
        }
        let mut wanted: BTreeMap<String, Value> = namespaces
            .iter()
            .map(|name| (name.clone(), json!({"metadata": {}})))
            .collect();
        for object in context {
            let name = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
            if object["kind"] == "Namespace" {
                wanted.insert(name("name").expect("a name"), object.clone());
            } else if let Some(namespace) = name("namespace") {
                wanted
                    .entry(namespace)
                    .or_insert_with(|| json!({"metadata": {}}));
            }
        }
        for (name, object) in &wanted {
            self.namespace(name, object).await;
        }
        for object in context
            .iter()
            .filter(|object| object["kind"] != "Namespace")
        {
            let namespace = object["metadata"]["namespace"]
                .as_str()
                .unwrap_or(HOME)
                .to_owned();
            let mut object = object.clone();
            object["metadata"]["namespace"] = namespace.clone().into();
            let space = self.0.existing(&namespace);
            let created = space.create(&object).await;
            assert!(created.is_ok(), "{created:?} of {object:#}");
        }
        self.0.settled().await;
    }

    /// The namespace with these labels and annotations of ours, and no others.
    async fn namespace(&self, name: &str, object: &Value) {
        let api: Api<_> = self.0.api("v1", "Namespace", "");
        let there = api.get_opt(name).await.expect("an answer");
        let mut metadata = json!({"name": name});
        for field in ["labels", "annotations"] {
            let mut map = Map::new();
            let before = there.as_ref().map(outrigger_e2e::value).unwrap_or_default();
            for key in before["metadata"][field]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key)
            {
                if !key.contains("kubernetes.io/") {
                    map.insert(key.clone(), Value::Null);
                }
            }
            if let Some(wanted) = object["metadata"][field].as_object() {
                map.extend(wanted.clone());
            }
            metadata[field] = map.into();
        }
        let patch = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        if there.is_some() {
            let params = PatchParams::default();
            api.patch(name, &params, &Patch::Merge(&patch))
                .await
                .expect("patched");
        } else {
            let object = serde_json::from_value(patch).expect("an object");
            api.create(&Default::default(), &object)
                .await
                .expect("created");
        }
        until("a namespace's service account", async || {
            let accounts = self.0.api("v1", "ServiceAccount", name);
            accounts.get_opt("default").await.expect("an answer")
        })
        .await;
    }

    async fn dry_run(&self, namespace: &str, pod: &Value) -> Result<Value, String> {
        let space = self.0.existing(namespace);
        space.dry_run(pod).await.map(|pod| comparable(&pod))
    }
}

/// What two dry runs of the same Pod have in common.
fn comparable(pod: &Value) -> Value {
    let mut text = pod.to_string();
    while let Some(at) = text.find("kube-api-access-") {
        let end = at + "kube-api-access-".len();
        text.replace_range(at..(end + 5).min(text.len()), "token");
    }
    let mut pod: Value = serde_json::from_str(&text).expect("JSON");
    let metadata = pod["metadata"].as_object_mut().expect("a mapping");
    for field in [
        "uid",
        "creationTimestamp",
        "managedFields",
        "resourceVersion",
    ] {
        metadata.shift_remove(field);
    }
    // The service account's volume comes before what was added at admission, and after what the Pod brought along.
    sort(&mut pod["spec"]["volumes"], "name");
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            sort(&mut container["volumeMounts"], "mountPath");
        }
    }
    pod
}

fn sort(list: &mut Value, key: &str) {
    if let Some(list) = list.as_array_mut() {
        list.sort_by_key(|item| item[key].to_string());
    }
}

/// We refuse, or the API server does before it asks anybody.
fn is_denial(sentence: &str) -> bool {
    sentence.starts_with("admission webhook") && sentence.contains("denied the request: ")
        || sentence.contains(NO_POD)
}

/// What the API server says to types that no Pod has.
const NO_POD: &str = "cannot be handled as a Pod: json: cannot unmarshal";

#[tokio::test]
async fn the_api_server_stores_the_same_with_and_without_the_command_line() {
    let _storm = storm().await;
    let cluster = Cluster::connect().await;
    let stage = Stage(&cluster);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/inject");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("fixtures")
        .map(|case| case.expect("a case").path())
        .collect();
    cases.sort();
    let only = std::env::var("FIXTURE").ok();
    let mut faults = Vec::new();
    for case in &cases {
        let name = case
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        if let Err(fault) = play(&stage, case).await {
            faults.push(format!("{name}: {fault}"));
        }
    }
    stage.set(&[], &[]).await;
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n")
    );
}

async fn play(stage: &Stage<'_>, case: &Path) -> Result<(), String> {
    let originals = pods(&case.join("pod.yaml"));
    let expected = pods(&case.join("expected.yaml"));
    let namespaces: Vec<String> = originals
        .iter()
        .map(|(namespace, _)| namespace.clone())
        .collect();
    stage
        .set(&objects(&case.join("context.yaml")), &namespaces)
        .await;
    let started = std::time::Instant::now();
    loop {
        let fault = hold(stage, &originals, &expected).await;
        // The API server hears of a namespace's label when it hears of it.
        if fault.is_ok() || started.elapsed().as_secs() > 5 {
            return fault;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

async fn hold(
    stage: &Stage<'_>,
    originals: &[(String, Value)],
    expected: &[(String, Value)],
) -> Result<(), String> {
    for (index, (namespace, original)) in originals.iter().enumerate() {
        let stored = stage.dry_run(namespace, original).await;
        match (expected.get(index), stored) {
            (None, Err(denial)) if is_denial(&denial) => {}
            (None, stored) => return Err(format!("expected a denial, found {stored:?}")),
            // No Pod at all: nobody is asked about it.
            (Some(_), Err(error)) if error.contains(NO_POD) => {}
            (Some(_), Err(error)) => return Err(error),
            (Some((_, output)), Ok(stored)) => {
                let same = stage.dry_run(namespace, output).await?;
                if same != stored {
                    let patch = json_patch::diff(&stored, &same);
                    return Err(format!("the command line's differs by {patch}"));
                }
            }
        }
    }
    Ok(())
}
