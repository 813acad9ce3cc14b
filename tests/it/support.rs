//! What several tests need: running the command, a world made of files, goldens, small Pods.

pub(crate) mod load;
pub(crate) mod meaning;
pub(crate) mod mount;
pub(crate) mod server;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) use meaning::meaning;
use outrigger::binding::Binding;
use outrigger::catalog::{Catalog, Namespace, Place};
use outrigger::inject::{Context, Outcome, inject};
use outrigger::manifest;
use outrigger::pattern::Pattern;
use serde_json::Value;

/// The environment variable that makes failing goldens the expected ones.
const BLESS: &str = "OUTRIGGER_BLESS";

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What a run of the command left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// Runs `outrigger` from the repository's root.
pub(crate) fn outrigger(arguments: &[&str]) -> Run {
    outrigger_with_input(arguments, "")
}

/// Runs `outrigger` with something on its standard input.
pub(crate) fn outrigger_with_input(arguments: &[&str], input: &str) -> Run {
    run(command(arguments), input.as_bytes())
}

/// `outrigger`, ready to run from the repository's root; nobody's taste in colours is inherited.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command
        .args(arguments)
        .current_dir(root())
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE");
    command
}

/// Runs a command with something on its standard input.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let input = input.to_owned();
    // Written from another thread: a command that answers before it has read all must not block us.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the command ends");
    let _ = writer.join();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Run {
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        code: output.status.code().expect("an exit code"),
    }
}

/// Reads a file of the repository.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Holds `actual` against the golden at `path`; the error shows a diff and says how to accept it. Blesses if asked to.
pub(crate) fn golden(path: &Path, actual: &str) -> Result<(), String> {
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    let name = path.strip_prefix(root()).unwrap_or(path).display();
    if std::env::var_os(BLESS).is_some() {
        return std::fs::write(path, actual).map_err(|error| format!("{name}: {error}"));
    }
    Err(format!(
        "{name} is not what comes out; if that is right, run the tests once with {BLESS}=1\n{}",
        difference(&expected, actual)
    ))
}

/// What differs, as a unified diff: `-` expected, `+` actual.
pub(crate) fn difference(expected: &str, actual: &str) -> String {
    similar::TextDiff::from_lines(expected, actual)
        .unified_diff()
        .context_radius(2)
        .header("expected", "actual")
        .to_string()
}

/// Asserts that a run ended with `code` and said exactly this, with a diff where it did not.
#[track_caller]
pub(crate) fn assert_run(run: &Run, code: i32, stdout: &str, stderr: &str) {
    let mut wrong = Vec::new();
    for (name, expected, actual) in [
        ("stdout", stdout, &run.stdout),
        ("stderr", stderr, &run.stderr),
    ] {
        if expected != actual {
            wrong.push(format!("{name}\n{}", difference(expected, actual)));
        }
    }
    if run.code != code {
        wrong.push(format!("exit code {}, expected {code}", run.code));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the library is told about the cluster, from the same files that the command reads.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    pub(crate) namespaces: BTreeMap<String, Namespace>,
}

impl World {
    /// Reads Namespace, Pattern and PatternBinding objects; a file that is not there is an empty cluster.
    pub(crate) fn of(file: &Path) -> Self {
        let mut world = Self {
            catalog: Catalog::default(),
            namespaces: BTreeMap::new(),
        };
        if file.exists() {
            for document in documents(file) {
                world.add(&document.value);
            }
        }
        world
    }

    fn add(&mut self, object: &Value) {
        let home = self.catalog.home.clone();
        let metadata = |field: &str| object["metadata"].get(field);
        let text = |field: &str| metadata(field).and_then(Value::as_str);
        let namespace = text("namespace").unwrap_or(&home);
        match object["kind"].as_str() {
            Some("Pattern") => self.catalog.add_pattern(
                Pattern::load(object, Place::Namespace(namespace.to_owned())).expect("a pattern"),
            ),
            Some("PatternBinding") => self
                .catalog
                .add_binding(Binding::load(object, namespace, &home).expect("a binding")),
            Some("Namespace") => {
                let map = |field: &str| {
                    metadata(field).map_or_else(BTreeMap::new, |entries| {
                        serde_json::from_value(entries.clone()).expect("a mapping of strings")
                    })
                };
                let name = text("name").expect("a name").to_owned();
                let (labels, annotations) = (map("labels"), map("annotations"));
                self.namespaces.insert(
                    name.clone(),
                    Namespace {
                        name,
                        labels,
                        annotations,
                    },
                );
            }
            other => panic!("{other:?} does not belong into a context"),
        }
    }

    /// Injects one Pod or template that lives in `namespace`.
    pub(crate) fn inject(
        &self,
        pod: &Value,
        namespace: &str,
    ) -> Result<Outcome, outrigger::inject::Error> {
        let unknown = Namespace {
            name: namespace.to_owned(),
            ..Namespace::default()
        };
        let context = Context {
            namespace: self.namespaces.get(namespace).unwrap_or(&unknown),
            catalog: &self.catalog,
        };
        inject(pod.to_string().as_bytes(), &context)
    }
}

/// The documents of a file that parses.
pub(crate) fn documents(file: &Path) -> Vec<manifest::Document> {
    manifest::read(&[file.to_owned()])
        .unwrap_or_else(|error| panic!("{error:#}"))
        .unwrap_or_else(|complaints| panic!("{}", complaints[0]))
}

/// Applies an outcome's patch with an RFC 6902 implementation that is not ours.
pub(crate) fn apply(outcome: &Outcome, pod: &mut Value) {
    let patch: json_patch::Patch =
        serde_json::from_slice(&outcome.patch.to_json()).expect("RFC 6902");
    json_patch::patch(pod, &patch).expect("a patch that applies");
}
