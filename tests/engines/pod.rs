//! From annotations to what an injected container would see: its command line, environment and files.
//!
//! There is no kubelet here, and no container: a mount at `/etc/outrigger` is a directory `ROOT/etc/outrigger`, and that prefix is
//! rewritten in the arguments and in the files. Nothing else of the rendering is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger::catalog::{Catalog, Namespace};
use outrigger::inject::{Context, inject};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Process, claim};

/// Every path that the built-ins mount something at starts so.
const PREFIX: &str = "/etc/outrigger";

/// A Pod that went through `inject`.
#[derive(Debug)]
pub(crate) struct Pod {
    value: Value,
    /// By instance, then by the port's name.
    given: BTreeMap<String, BTreeMap<String, u16>>,
}

impl Pod {
    /// Injects annotations (`sidecar.outrigger.dev/https`, parameters) into a Pod whose app serves the port `http` on `app`.
    pub(crate) fn inject(annotations: &[(&str, Value)], app: u16) -> Self {
        Self::beside(annotations, app, &[])
    }

    /// The same, with given ports that are free on this machine.
    ///
    /// Outrigger gives out ports from 17000 up, clear of the Pod's. Where one is taken here, the app is made to declare it.
    pub(crate) fn inject_to_run(annotations: &[(&str, Value)], app: u16) -> Self {
        let mut taken = Vec::new();
        loop {
            let pod = Self::beside(annotations, app, &taken);
            let before = taken.len();
            let given = pod.given.values().flat_map(BTreeMap::values);
            taken.extend(given.copied().filter(|port| !claim(*port)));
            if taken.len() == before {
                return pod;
            }
            // Those that were free stay claimed, and are not asked for again.
            taken.extend(pod.given.values().flat_map(BTreeMap::values));
            taken.sort_unstable();
            taken.dedup();
        }
    }

    fn beside(annotations: &[(&str, Value)], app: u16, taken: &[u16]) -> Self {
        let mut ports = vec![json!({"name": "http", "containerPort": app})];
        ports.extend(taken.iter().map(|port| json!({"containerPort": port})));
        let annotations: serde_json::Map<_, _> = annotations
            .iter()
            .map(|(key, params)| ((*key).to_owned(), Value::String(params.to_string())))
            .collect();
        let mut value = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "shop", "annotations": annotations},
            "spec": {"containers": [{"name": "app", "image": "shop:1", "ports": ports}]},
        });
        let namespace = Namespace {
            name: "shop".to_owned(),
            ..Namespace::default()
        };
        let context = Context {
            namespace: &namespace,
            catalog: &Catalog::default(),
        };
        let outcome = inject(value.to_string().as_bytes(), &context).expect("a Pod");
        let denials: Vec<_> = outcome.denials().map(|denial| &denial.sentence).collect();
        assert!(denials.is_empty(), "{denials:?}");
        let patch = serde_json::to_value(&outcome.patch).expect("a patch");
        let patch: json_patch::Patch = serde_json::from_value(patch).expect("RFC 6902");
        json_patch::patch(&mut value, &patch).expect("the patch applies");
        let given = outcome
            .decisions
            .into_iter()
            .filter_map(|decision| Some((decision.instance, decision.record?.ports)))
            .collect();
        Self { value, given }
    }

    /// The number behind a name of the pattern's `ports`.
    pub(crate) fn given(&self, instance: &str, name: &str) -> u16 {
        self.given[instance][name]
    }

    /// A container by name, the app's or an injected one.
    pub(crate) fn container(&self, name: &str) -> &Value {
        ["containers", "initContainers"]
            .iter()
            .filter_map(|list| self.value["spec"][list].as_array())
            .flatten()
            .find(|container| container["name"] == name)
            .unwrap_or_else(|| panic!("no container `{name}` in {:#}", self.value["spec"]))
    }

    /// Lays out what the container `name` would see; `secrets` are the namespace's, by name and key.
    pub(crate) fn lay_out(&self, name: &str, secrets: &Secrets) -> Layout {
        let container = self.container(name);
        let root = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout {
            args: list(container, "args").map(str_of).collect(),
            env: list(container, "env")
                .map(|entry| (str_of(&entry["name"]), secrets.value(entry)))
                .collect(),
            root,
        };
        for mount in list(container, "volumeMounts") {
            let volume = list(&self.value["spec"], "volumes")
                .find(|volume| volume["name"] == mount["name"])
                .expect("a mount names a volume");
            let files = self.volume(volume, secrets, &layout);
            layout.publish(&str_of(&mount["mountPath"]), &files);
        }
        layout
    }

    /// The files of a volume.
    fn volume(&self, volume: &Value, secrets: &Secrets, layout: &Layout) -> Files {
        if volume.get("downwardAPI").is_some() {
            list(&volume["downwardAPI"], "items")
                .map(|item| {
                    let field = str_of(&item["fieldRef"]["fieldPath"]);
                    let key = field
                        .strip_prefix("metadata.annotations['")
                        .and_then(|rest| rest.strip_suffix("']"))
                        .expect("an annotation's path");
                    let text = str_of(&self.value["metadata"]["annotations"][key]);
                    (str_of(&item["path"]), layout.rewrite(&text))
                })
                .collect()
        } else if volume.get("secret").is_some() {
            secrets.0[&str_of(&volume["secret"]["secretName"])].clone()
        } else {
            assert!(volume.get("emptyDir").is_some(), "{volume}");
            Files::new()
        }
    }
}

fn list<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn str_of(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// File names and their texts.
pub(crate) type Files = BTreeMap<String, String>;

/// The namespace's Secrets, by name.
#[derive(Debug, Default)]
pub(crate) struct Secrets(pub(crate) BTreeMap<String, Files>);

impl Secrets {
    /// One Secret.
    pub(crate) fn of(name: &str, files: Files) -> Self {
        Self(BTreeMap::from([(name.to_owned(), files)]))
    }

    /// What an entry of `env` comes to.
    fn value(&self, entry: &Value) -> String {
        let reference = &entry["valueFrom"]["secretKeyRef"];
        match entry.get("value") {
            Some(value) => str_of(value),
            None => self.0[&str_of(&reference["name"])][&str_of(&reference["key"])].clone(),
        }
    }
}

/// What a container would see, on disk.
#[derive(Debug)]
pub(crate) struct Layout {
    root: TempDir,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Layout {
    /// Where the container would see `path`.
    fn host(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn rewrite(&self, text: &str) -> String {
        text.replace(PREFIX, &self.host(PREFIX).display().to_string())
    }

    /// Shows `files` at a mount's path, as the kubelet does for Secrets and downwardAPI volumes (`pkg/volume/util/atomic_writer.go`):
    /// each in a directory of its own behind the link `..data`, which is swapped by a rename.
    pub(crate) fn publish(&self, mount: &str, files: &Files) {
        let volume = self.host(mount);
        std::fs::create_dir_all(&volume).expect("a directory");
        let made = tempfile::Builder::new()
            .prefix("..")
            .tempdir_in(&volume)
            .expect("a directory")
            .keep();
        for (file, text) in files {
            std::fs::write(made.join(file), text).expect("a file");
        }
        let data = volume.join("..data");
        let old = std::fs::read_link(&data).ok();
        let fresh = volume.join("..data_tmp");
        link(Path::new(made.file_name().expect("a name")), &fresh);
        std::fs::rename(&fresh, &data).expect("a rename");
        for file in files.keys().filter(|file| !volume.join(file).exists()) {
            link(&Path::new("..data").join(file), &volume.join(file));
        }
        if let Some(old) = old {
            std::fs::remove_dir_all(volume.join(old)).expect("the old directory goes");
        }
    }

    /// The container's command line, with `binary` for the image's, in the container's environment and no other.
    pub(crate) fn command(&self, binary: &str) -> Command {
        let mut command = Command::new(binary);
        command
            .args(self.args.iter().map(|arg| self.rewrite(arg)))
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the container.
    pub(crate) fn start(self, name: &'static str, binary: &str) -> Running {
        Running {
            process: Process::start(name, &mut self.command(binary)),
            layout: self,
        }
    }

    /// Changes one of the laid out files, for tests of the tests.
    pub(crate) fn tamper(&self, path: &str, from: &str, to: &str) {
        let path = self.host(path);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(&path, text.replace(from, to)).expect("a file");
    }
}

/// A container that runs, and what it sees.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) layout: Layout,
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) {
    std::os::unix::fs::symlink(to, at).expect("a link");
}
