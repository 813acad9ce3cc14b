//! Fixtures as files: `tests/fixtures/inject/<case>/`, each a Pod that shows one thing.
//!
//! ```text
//!  pod.yaml      what goes in; any kind with a Pod template, in the namespace that it names
//!  context.yaml  what the cluster knows: Namespace, Pattern and PatternBinding objects; absent if nothing
//!  expected.yaml what comes out; absent if the Pod is denied
//!  explain.txt   what `outrigger explain` says about it
//! ```
//!
//! A Pod that was injected before (`carried-*`, `outdated-*`) holds hashes of its parameters in `pod.yaml`. If their format changes, every
//! Pod in every cluster is outdated, and these fixtures say so; if that is meant, make them anew from what `outrigger inject` prints.
//!
//! To add one, write `pod.yaml` (and `context.yaml`), run `OUTRIGGER_BLESS=1 cargo test --test it fixtures`, and read what came out.

use std::path::{Path, PathBuf};

use outrigger::inject::Outcome;
use outrigger::manifest;
use outrigger::yaml::Step;
use serde_json::Value;

use crate::support::{World, apply, documents, golden, meaning, outrigger, read, root};

const FILES: [&str; 4] = ["context.yaml", "expected.yaml", "explain.txt", "pod.yaml"];

/// One directory.
struct Case {
    name: String,
    directory: PathBuf,
}

impl Case {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs a verb on one of the case's files, in its context.
    fn outrigger(&self, verb: &str, file: &str) -> crate::support::Run {
        let relative = |name: &str| format!("tests/fixtures/inject/{}/{name}", self.name);
        let (file, context) = (relative(file), relative("context.yaml"));
        let mut arguments = vec![verb, "-f", &file];
        if verb != "uninject" && self.file("context.yaml").exists() {
            arguments.extend(["--context", &context]);
        }
        outrigger(&arguments)
    }

    /// What the library makes of each template of a file, and where the template stands in its document.
    fn outcomes(&self, file: &str) -> Result<Vec<(Outcome, Vec<Step>)>, String> {
        let world = World::of(&self.file("context.yaml"));
        let mut outcomes = Vec::new();
        for document in values(&self.file(file)) {
            for template in manifest::templates(&document) {
                let object = manifest::get(&document, &template.object).expect("an object");
                let namespace = object["metadata"]["namespace"].as_str();
                let pod = manifest::get(&document, &template.path()).expect("a template");
                let outcome = world
                    .inject(pod, namespace.unwrap_or("default"))
                    .map_err(|error| error.to_string())?;
                outcomes.push((outcome, template.path()));
            }
        }
        Ok(outcomes)
    }

    fn is_denied(&self) -> bool {
        !self.file("expected.yaml").exists()
    }
}

fn cases() -> Vec<Case> {
    let directory = root().join("tests/fixtures/inject");
    let mut cases: Vec<Case> = std::fs::read_dir(&directory)
        .expect("tests/fixtures/inject")
        .map(|entry| entry.expect("an entry").path())
        .map(|directory| Case {
            name: directory
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned(),
            directory,
        })
        .collect();
    cases.sort_by(|left, right| left.name.cmp(&right.name));
    cases
}

/// Holds every case against `law`; all that break it are shown.
fn for_each(law: impl Fn(&Case) -> Result<(), String>) {
    let broken: Vec<String> = cases()
        .iter()
        .filter_map(|case| {
            law(case)
                .err()
                .map(|error| format!("{}: {error}", case.name))
        })
        .collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Two files, document by document, as far as they mean something; the order of a mapping's entries does not.
fn same_meaning(actual: &[Value], expected: &[Value]) -> Result<(), String> {
    let all = |values: &[Value]| values.iter().map(meaning).collect::<Value>();
    let (actual, expected) = (all(actual), all(expected));
    if actual == expected {
        return Ok(());
    }
    let (expected, actual) = (format!("{expected:#}\n"), format!("{actual:#}\n"));
    Err(crate::support::difference(&expected, &actual))
}

fn values(file: &Path) -> Vec<Value> {
    documents(file)
        .into_iter()
        .map(|document| document.value)
        .collect()
}

#[test]
fn the_command_prints_what_is_expected_or_refuses() {
    for_each(|case| {
        let run = case.outrigger("inject", "pod.yaml");
        let expected = case.file("expected.yaml");
        match run.code {
            0 => golden(&expected, &run.stdout),
            1 if !run.stdout.is_empty() => Err(format!(
                "it is denied, and yet something is on stdout:\n{}",
                run.stdout
            )),
            1 if expected.exists() && std::env::var_os("OUTRIGGER_BLESS").is_some() => {
                std::fs::remove_file(&expected).map_err(|error| error.to_string())
            }
            1 if expected.exists() => Err(format!("it is denied:\n{}", run.stderr)),
            1 => Ok(()),
            code => Err(format!("exit code {code}:\n{}", run.stderr)),
        }
    });
}

#[test]
fn explain_says_why() {
    for_each(|case| {
        let run = case.outrigger("explain", "pod.yaml");
        golden(&case.file("explain.txt"), &run.stdout)?;
        match (run.code, run.stdout.contains("denied")) {
            (0, false) | (1, true) => Ok(()),
            (code, _) => Err(format!("exit code {code} after\n{}", run.stdout)),
        }
    });
}

#[test]
fn the_library_gives_the_same_as_the_command() {
    for_each(|case| {
        let outcomes = case.outcomes("pod.yaml")?;
        let denied = outcomes
            .iter()
            .any(|(outcome, _)| outcome.denials().count() > 0);
        let mut outcomes = outcomes.into_iter();
        let mut after = values(&case.file("pod.yaml"));
        for document in &mut after {
            for template in manifest::templates(document) {
                let (outcome, path) = outcomes.next().expect("an outcome for each template");
                assert_eq!(path, template.path());
                let pod = manifest::get_mut(document, &path).expect("a template");
                apply(&outcome, pod);
            }
        }
        match (denied, case.is_denied()) {
            (true, true) => Ok(()),
            (false, false) => same_meaning(&after, &values(&case.file("expected.yaml"))),
            (true, false) => Err("the library denies it".to_owned()),
            (false, true) => Err("the library lets it pass".to_owned()),
        }
    });
}

#[test]
fn uninject_gives_the_pod_back() {
    for_each(|case| {
        if case.is_denied() {
            return Ok(());
        }
        let run = case.outrigger("uninject", "expected.yaml");
        if run.code != 0 {
            return Err(run.stderr);
        }
        let after = tempfile::Builder::new()
            .suffix(".yaml")
            .tempfile()
            .expect("a file");
        std::fs::write(after.path(), &run.stdout).expect("it is written");
        // A Pod that came with a status is one that was injected before: that goes, too.
        let mut before = values(&case.file("pod.yaml"));
        for document in &mut before {
            for template in manifest::templates(document) {
                let pod = manifest::get_mut(document, &template.path()).expect("a template");
                outrigger::inject::uninject(pod)?;
            }
        }
        same_meaning(&values(after.path()), &before)
    });
}

#[test]
fn a_second_injection_changes_nothing() {
    for_each(|case| {
        if case.is_denied() {
            return Ok(());
        }
        for (outcome, _) in case.outcomes("expected.yaml")? {
            if !outcome.patch.is_empty() || outcome.denials().count() > 0 {
                let decisions = &outcome.decisions;
                return Err(format!("{decisions:#?}\n{:#?}", outcome.patch));
            }
        }
        Ok(())
    });
}

#[test]
fn every_pod_says_what_it_shows_and_no_file_is_stray() {
    for_each(|case| {
        let entries = std::fs::read_dir(&case.directory).map_err(|error| error.to_string())?;
        for entry in entries {
            let name = entry.map_err(|error| error.to_string())?.file_name();
            if !FILES.iter().any(|known| name == *known) {
                return Err(format!("{} is read by nobody", name.display()));
            }
        }
        if read(case.file("pod.yaml")).starts_with("# ") {
            Ok(())
        } else {
            Err("pod.yaml starts with a comment that says what it shows".to_owned())
        }
    });
}
