//! Bad input: what a user reads who wrote something wrong, whole, with its place; and that nothing panics.
//!
//! A sentence is lower case, has no full stop, and names the place, the value, what was expected, and what may have been meant.

use std::path::Path;

use crate::support::{Run, command, run};

mod annotations;
mod conflicts;
mod files;
mod mutated;
mod patterns;

/// One container, no ports.
const PLAIN: &str = "\
spec:
  containers:
  - name: app
    image: shop:1
";

/// One container with a port called `http`.
const HTTP: &str = "\
spec:
  containers:
  - name: app
    image: shop:1
    ports:
    - {name: http, containerPort: 8080}
";

/// A Pod with one annotation, which stands at line 6, column 5.
fn pod(annotation: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: shop\n  annotations:\n    {annotation}\n{spec}"
    )
}

/// As a user would quote it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Runs `outrigger` in a directory that holds these files.
fn among(files: &[(&str, &[u8])], arguments: &[&str]) -> Run {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).expect("it is written");
    }
    within(directory.path(), arguments)
}

fn within(directory: &Path, arguments: &[&str]) -> Run {
    let mut command = command(arguments);
    command.current_dir(directory);
    run(command, b"")
}

/// Asserts that `inject` refuses the Pod with exactly this and prints no data.
#[track_caller]
fn refuses(pod: &str, stderr: &str) {
    let run = among(
        &[("pod.yaml", pod.as_bytes())],
        &["inject", "-f", "pod.yaml"],
    );
    crate::support::assert_run(&run, 1, "", stderr);
}

/// Asserts that a Pod with this annotation is denied, at the annotation's place, with this sentence.
#[track_caller]
fn denies(key: &str, value: &str, spec: &str, sentence: &str) {
    let pod = pod(&format!("{key}: {value}"), spec);
    refuses(
        &pod,
        &format!("error: pod.yaml:6:5: Pod shop is denied: {sentence}\n"),
    );
}

/// The same for an annotation that could be read: the sentence goes on after its key.
#[track_caller]
fn denies_params(key: &str, params: &str, spec: &str, sentence: &str) {
    denies(
        key,
        &quoted(params),
        spec,
        &format!("annotation `{key}`: {sentence}"),
    );
}
