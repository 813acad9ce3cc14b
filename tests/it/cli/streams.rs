//! Where manifests come from and where they go: files, directories, streams, namespaces, terminals.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::support::{Run, assert_run, command, outrigger, outrigger_with_input, run};

/// A Pod that asks for nothing, with all that a rewrite would lose.
const UNTOUCHED: &str = "\
# a comment
apiVersion: v1
kind:   Pod   # another
metadata: {name: \"plain\"}
spec: {containers: [{name: app, image: 'shop:1'}]}
";

const ASKING: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: cart
  annotations:
    adapter.outrigger.dev/redis-metrics: \"\"
spec:
  containers:
  - name: redis
    image: redis:7.4
";

const TALK: &str = "Pod cart: injected redis-metrics (asked): annotation `adapter.outrigger.dev/redis-metrics` asks for it\n";

fn inject(input: &str, more: &[&str]) -> Run {
    let arguments = [&["inject", "-f", "-"], more].concat();
    outrigger_with_input(&arguments, input)
}

/// What becomes of [`ASKING`] by itself.
fn injected() -> String {
    inject(ASKING, &[]).stdout
}

#[test]
fn documents_keep_their_order_and_untouched_ones_their_bytes() {
    let config = "kind: ConfigMap\napiVersion: v1\ndata:\n    a: |\n        --- not a separator\n";
    let run = inject(&format!("{UNTOUCHED}---\n{ASKING}---\n{config}"), &[]);
    assert_run(
        &run,
        0,
        &format!("{UNTOUCHED}---\n{}---\n{config}", injected()),
        TALK,
    );
}

#[test]
fn a_stream_of_untouched_documents_is_the_same_stream() {
    let stream = format!("{UNTOUCHED}---\n{UNTOUCHED}");
    assert_run(&inject(&stream, &[]), 0, &stream, "");
}

/// The separators before the first document and between empty ones mean nothing.
#[test]
fn separators_are_tidied() {
    let stream = format!("---\n{UNTOUCHED}---\n---\n{UNTOUCHED}---\n");
    assert_run(
        &inject(&stream, &[]),
        0,
        &format!("{UNTOUCHED}---\n{UNTOUCHED}"),
        "",
    );
}

#[test]
fn json_in_is_yaml_too() {
    let json = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"}, "spec": {"containers": []}}"#;
    assert_run(&inject(json, &[]), 0, &format!("{json}\n"), "");
}

#[test]
fn files_and_directories_in_the_order_given() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("manifests")).expect("it is made");
    for (name, pod) in [
        ("manifests/b.yml", "b"),
        ("manifests/a.yaml", "a"),
        ("manifests/c.json", "c"),
        ("manifests/notes.txt", "never read"),
        ("first.yaml", "first"),
    ] {
        std::fs::write(at(name), format!("# {pod}\n")).expect("it is written");
    }
    let mut command = command(&["inject", "-f", "first.yaml", "manifests"]);
    command.current_dir(directory.path());
    assert_run(
        &run(command, b""),
        0,
        "# first\n---\n# a\n---\n# b\n---\n# c\n",
        "",
    );
}

/// The object's own namespace first, then `-n`, then `default`.
#[test]
fn namespaces() {
    let heading = |input: &str, more: &[&str]| {
        let arguments = [&["explain", "-f", "-"], more].concat();
        let run = outrigger_with_input(&arguments, input);
        run.stdout.lines().next().expect("a heading").to_owned()
    };
    let own = ASKING.replace("  name: cart\n", "  name: cart\n  namespace: shop\n");
    assert_eq!(heading(ASKING, &[]), "Pod cart in namespace default");
    assert_eq!(
        heading(ASKING, &["-n", "till"]),
        "Pod cart in namespace till"
    );
    assert_eq!(heading(&own, &["-n", "till"]), "Pod cart in namespace shop");
}

#[test]
fn a_context_brings_namespaces_patterns_and_bindings() {
    let case = "tests/fixtures/inject/namespace-enabled";
    let (pod, context) = (format!("{case}/pod.yaml"), format!("{case}/context.yaml"));
    let without = outrigger(&["inject", "-f", &pod]);
    let with = outrigger(&["inject", "-f", &pod, "--context", &context]);
    assert_run(&without, 0, &crate::support::read(&pod), "");
    assert_eq!(
        with.stderr,
        "Pod shop: injected logs (offered): the namespace's annotation `sidecar.outrigger.dev/logs` offers it\n"
    );
}

/// One of several documents is denied: nothing is printed that someone could apply.
#[test]
fn one_denial_withholds_everything() {
    let denied = ASKING
        .replace("\"\"", "\"{port: 80}\"")
        .replace("cart", "till");
    let run = inject(&format!("{ASKING}---\n{denied}"), &[]);
    assert_run(
        &run,
        1,
        "",
        &format!(
            "{TALK}error: <stdin>:17:5: Pod till is denied: annotation `adapter.outrigger.dev/redis-metrics`: parameter `port` is `80`, expected at least 1024\n"
        ),
    );
}

#[test]
fn colours_are_for_terminals_and_for_those_who_insist() {
    let output = |variables: &[(&str, &str)]| {
        let mut command = command(&["inject", "-f", "examples/shop.yaml", "-o", "diff"]);
        command.envs(variables.iter().copied());
        let run = run(command, b"");
        format!("{}{}", run.stdout, run.stderr)
    };
    assert!(!output(&[]).contains('\x1b'));
    assert!(!output(&[("NO_COLOR", "1")]).contains('\x1b'));
    let forced = output(&[("CLICOLOR_FORCE", "1")]);
    assert!(forced.contains("\x1b[32m+"), "{forced}");
    assert!(forced.contains("\x1b[1;33mwarning\x1b[0m: "), "{forced}");
}

/// `outrigger inject … | head -1`
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = command(&["inject", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    // Gone before the first byte comes: the input that all output waits for is not there yet.
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(UNTOUCHED.as_bytes()).expect("it listens");
    drop(stdin);
    let mut talk = String::new();
    let mut stderr = child.stderr.take().expect("standard error is piped");
    stderr.read_to_string(&mut talk).expect("UTF-8");
    let status = child.wait().expect("the command ends");
    assert_eq!((status.code(), talk.as_str()), (Some(0), ""));
}
