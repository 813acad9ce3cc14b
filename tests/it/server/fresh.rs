//! Patterns, namespaces and bindings from directories: usable without a restart, and never lost to a file that breaks.

use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::load::Load;
use crate::support::mount::Mount;
use crate::support::server::{Server, eventually, pod, put, review};

/// The report of a server at which nothing is amiss.
const ALL_WELL: &str =
    "[+]certificate ok\n[+]configuration ok\n[+]shutdown ok\nreadyz check passed\n";

/// A pattern without parameters; its image tells one version of it from another.
fn pattern(name: &str, image: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Pattern\nmetadata:\n  name: {name}\nspec:\n  role: sidecar\n  containers:\n  - image: {image}\n"
    )
}

fn binding(metadata: &str, pattern: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: PatternBinding\nmetadata: {metadata}\nspec:\n  pattern: {pattern}\n"
    )
}

fn namespace(name: &str, injection: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{outrigger.dev/injection: {injection}}}\n"
    )
}

/// A directory, and a server that reads it, under load.
struct Fresh {
    directory: TempDir,
    server: Server,
    load: Load,
}

impl Fresh {
    fn start(flag: &str, files: &[(&str, &str)], arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            put(directory.path().join(name), text);
        }
        let path = directory.path().display().to_string();
        let server = Server::start(&[&[flag, path.as_str()], arguments].concat());
        let load = load(&server);
        Self {
            directory,
            server,
            load,
        }
    }

    fn put(&self, name: &str, text: &str) {
        put(self.directory.path().join(name), text);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.directory.path().join(name)).expect("the file was there");
    }

    /// The file's path, as complaints name it.
    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

fn load(server: &Server) -> Load {
    let pace = Duration::from_millis(20);
    Load::start(server.webhook, &server.trust(), 2, pace)
}

/// What becomes of a Pod with these annotations: the image of what is injected, the sentence of a denial, or nothing.
fn fate(server: &Server, annotations: &Value) -> String {
    let review = review("u", &pod(annotations)).to_string();
    let response = server
        .post("/mutate/namespace", review.as_bytes())
        .response();
    if let Some(sentence) = response["status"]["message"].as_str() {
        return sentence.to_owned();
    }
    let Some(patch) = response["patch"].as_str() else {
        return String::new();
    };
    let patch = STANDARD.decode(patch).expect("base64");
    let patch: Value = serde_json::from_slice(&patch).expect("JSON");
    image(&patch).unwrap_or_else(|| panic!("{patch}"))
}

/// The first image within.
fn image(value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => match fields.get("image") {
            Some(image) => image.as_str().map(str::to_owned),
            None => fields.values().find_map(image),
        },
        Value::Array(items) => items.iter().find_map(image),
        _ => None,
    }
}

/// Waits until a Pod with these annotations has that fate.
#[track_caller]
fn eventually_fate(server: &Server, annotations: &Value, expected: &str) {
    eventually(expected, || fate(server, annotations) == expected);
}

/// Waits until `/readyz?verbose` has these notes, and no others; the log must have them, too.
#[track_caller]
fn eventually_noted(server: &Server, notes: &[String]) {
    let lines: Vec<String> = notes.iter().map(|note| format!("   {note}\n")).collect();
    let lines = lines.concat();
    let configuration = "[+]configuration ok\n";
    let expected = ALL_WELL.replace(configuration, &format!("{configuration}{lines}"));
    eventually(&expected, || {
        server.get("/readyz?verbose").text() == expected
    });
    for note in notes {
        assert_eq!(server.line(note)["level"], "WARN");
    }
}

#[track_caller]
fn assert_files(server: &Server, good: f64, broken: f64) {
    for (state, expected) in [("good", good), ("broken", broken)] {
        let name = format!("outrigger_configuration_files{{state=\"{state}\"}}");
        eventually(&name, || (server.metric(&name) - expected).abs() < 0.5);
    }
}

const UNKNOWN: &str = "annotation `sidecar.outrigger.dev/logs`: there is no pattern `logs`; `outrigger catalog list` shows those there are";

#[test]
fn a_pattern_comes_changes_and_goes_without_a_restart() {
    let fresh = Fresh::start("--patterns", &[], &[]);
    let server = &fresh.server;
    let asking = json!({"sidecar.outrigger.dev/logs": ""});
    assert_eq!(fate(server, &asking), UNKNOWN);
    fresh.put("logs.yaml", &pattern("logs", "logs:1"));
    eventually_fate(server, &asking, "logs:1");
    assert_files(server, 1.0, 0.0);
    fresh.put("logs.yaml", &pattern("logs", "logs:2"));
    eventually_fate(server, &asking, "logs:2");
    fresh.remove("logs.yaml");
    eventually_fate(server, &asking, UNKNOWN);
    assert_files(server, 0.0, 0.0);
    eventually_noted(server, &[]);
    let reloads = "outrigger_reloads_total{what=\"configuration\",result=\"good\"}";
    eventually("three changes were counted", || {
        (server.metric(reloads) - 3.0).abs() < 0.5
    });
    fresh.load.finish();
}

#[test]
fn a_file_that_breaks_keeps_what_it_held_and_hinders_no_other() {
    let (logs, trace) = (pattern("logs", "logs:1"), pattern("trace", "trace:1"));
    let files = [("logs.yaml", logs.as_str()), ("trace.yaml", &trace)];
    let fresh = Fresh::start("--patterns", &files, &[]);
    let server = &fresh.server;
    let (logs, trace) = (
        json!({"sidecar.outrigger.dev/logs": ""}),
        json!({"sidecar.outrigger.dev/trace": ""}),
    );
    assert_eq!(fate(server, &logs), "logs:1");
    fresh.put(
        "logs.yaml",
        &pattern("logs", "logs:2").replace("role: sidecar", "role: driver"),
    );
    fresh.put("trace.yaml", &pattern("trace", "trace:2"));
    let file = fresh.file("logs.yaml");
    let note = format!(
        "{file}:6:3: Pattern logs: `spec.role`: unknown variant `driver`, expected one of `sidecar`, `ambassador`, `adapter`"
    );
    eventually_noted(server, &[note]);
    assert_files(server, 1.0, 1.0);
    assert_eq!(fate(server, &trace), "trace:2");
    assert_eq!(fate(server, &logs), "logs:1");
    assert_eq!(server.get("/readyz").text(), "ok\n");
    let broken = "outrigger_reloads_total{what=\"configuration\",result=\"broken\"}";
    eventually("it is counted", || {
        (server.metric(broken) - 1.0).abs() < 0.5
    });
    fresh.put("logs.yaml", "spec: [1\n");
    let note = format!("{file}:1:7: not YAML: unclosed bracket '['");
    eventually(&note, || {
        server.get("/readyz?verbose").text().contains(&note)
    });
    fresh.put("logs.yaml", &pattern("logs", "logs:3"));
    eventually_noted(server, &[]);
    assert_files(server, 2.0, 0.0);
    assert_eq!(fate(server, &logs), "logs:3");
    fresh.load.finish();
}

#[test]
fn a_mounted_config_map_is_swapped() {
    let (one, other) = (pattern("logs", "logs:1"), pattern("logs", "logs:2"));
    let mut mount = Mount::new(&[("logs.yaml", &one)]);
    let path = mount.path().display().to_string();
    let server = Server::start(&["--patterns", &path]);
    let load = load(&server);
    let asking = json!({"sidecar.outrigger.dev/logs": ""});
    assert_eq!(fate(&server, &asking), "logs:1");
    mount.swap(&[("logs.yaml", &other)]);
    eventually_fate(&server, &asking, "logs:2");
    mount.swap(&[("renamed.yaml", &one)]);
    eventually_fate(&server, &asking, "logs:1");
    assert_files(&server, 1.0, 0.0);
    eventually_noted(&server, &[]);
    load.finish();
}

#[test]
fn only_patterns_belong_to_patterns() {
    let text = format!(
        "{}---\n{}",
        pattern("logs", "logs:1"),
        namespace("shop", "enabled")
    );
    let trace = pattern("trace", "trace:1");
    let files = [("mixed.yaml", text.as_str()), ("trace.yaml", &trace)];
    let fresh = Fresh::start("--patterns", &files, &[]);
    let server = &fresh.server;
    let file = fresh.file("mixed.yaml");
    let note =
        format!("{file}:10:1: Namespace shop: expected a Pattern; other objects go to `--context`");
    eventually_noted(server, &[note]);
    // A file is used whole or not at all.
    assert_eq!(
        fate(server, &json!({"sidecar.outrigger.dev/logs": ""})),
        UNKNOWN
    );
    assert_eq!(
        fate(server, &json!({"sidecar.outrigger.dev/trace": ""})),
        "trace:1"
    );
    fresh.load.finish();
}

#[test]
fn a_namespace_with_a_binding_gives_while_its_label_says_so() {
    let files = [
        ("pattern.yaml", pattern("logs", "logs:1")),
        (
            "binding.yaml",
            binding("{name: logs, namespace: shop}", "logs"),
        ),
        ("namespace.yaml", namespace("shop", "enabled")),
    ];
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let fresh = Fresh::start("--context", &files, &[]);
    let server = &fresh.server;
    assert_eq!(fate(server, &json!({})), "logs:1");
    fresh.put("namespace.yaml", &namespace("shop", "disabled"));
    eventually_fate(server, &json!({}), "");
    fresh.put("namespace.yaml", &namespace("shop", "enabled"));
    eventually_fate(server, &json!({}), "logs:1");
    fresh.remove("binding.yaml");
    eventually_fate(server, &json!({}), "");
    eventually_noted(server, &[]);
    fresh.load.finish();
}

#[test]
fn bindings_for_the_cluster_need_a_flag() {
    let text = format!(
        "{}---\n{}",
        pattern("logs", "logs:1"),
        binding("{name: logs}", "logs")
    );
    let files = [("all.yaml", text.as_str())];
    let idle = Fresh::start("--context", &files, &[]);
    assert_eq!(fate(&idle.server, &json!({})), "");
    let note = "bindings of namespace `outrigger-system` do nothing without `--cluster-wide`";
    eventually_noted(&idle.server, &[note.to_owned()]);
    assert_files(&idle.server, 1.0, 0.0);
    idle.remove("all.yaml");
    eventually_noted(&idle.server, &[]);
    idle.load.finish();

    let wide = Fresh::start("--context", &files, &["--cluster-wide"]);
    assert_eq!(fate(&wide.server, &json!({})), "logs:1");
    eventually_noted(&wide.server, &[]);
    wide.load.finish();
}

#[test]
fn a_directory_that_is_not_there_is_reported_until_it_comes() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("patterns");
    let path = directory.display().to_string();
    let server = Server::start(&["--patterns", &path]);
    let load = load(&server);
    let gone =
        format!("{path}: No such file or directory (os error 2); what it held before is kept");
    eventually_noted(&server, std::slice::from_ref(&gone));
    assert_files(&server, 0.0, 1.0);
    fs::create_dir(&directory).expect("a directory");
    put(directory.join("logs.yaml"), &pattern("logs", "logs:1"));
    let asking = json!({"sidecar.outrigger.dev/logs": ""});
    eventually_fate(&server, &asking, "logs:1");
    eventually_noted(&server, &[]);
    // A volume that is unmounted takes nothing away.
    fs::rename(&directory, parent.path().join("elsewhere")).expect("it is renamed");
    eventually_noted(&server, &[gone]);
    assert_eq!(fate(&server, &asking), "logs:1");
    load.finish();
}
