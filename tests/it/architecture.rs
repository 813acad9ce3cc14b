//! The shape of the code: what the core may know, how long a file may get, that no built-in is forgotten.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::root;

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file, relative to `src`, with its text.
fn all() -> Vec<(String, String)> {
    let src = root().join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(&src)
                .expect("under src")
                .display()
                .to_string();
            (name, std::fs::read_to_string(&path).expect("a source file"))
        })
        .collect()
}

/// A file's code without its tests.
fn code(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

/// What may know the outside.
fn is_shell(name: &str) -> bool {
    ["cli", "cluster", "manifest", "server", "tls", "world"]
        .iter()
        .any(|shell| name == format!("{shell}.rs") || name.starts_with(&format!("{shell}/")))
        || name == "main.rs"
}

#[test]
fn the_core_knows_no_clock_environment_file_or_network() {
    let forbidden = [
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "std::thread",
        "std::time::Instant",
        "SystemTime",
        "tokio",
        "kube::",
        "hyper",
        "axum",
        "anyhow",
        "clap",
        "crate::cli",
        "crate::manifest",
        "crate::server",
        "crate::tls",
        "crate::world",
        "rand::",
        "async ",
    ];
    for (name, text) in all().iter().filter(|(name, _)| !is_shell(name)) {
        for word in forbidden {
            let hit = code(text)
                .lines()
                .find(|line| line.contains(word) && !line.trim_start().starts_with("//"));
            assert_eq!(hit, None, "src/{name} knows `{word}`");
        }
    }
}

#[test]
fn no_file_is_two() {
    for (name, text) in all() {
        let lines = code(&text).lines().count();
        assert!(
            lines <= 400,
            "src/{name} has {lines} lines without its tests: what is it two of?"
        );
    }
}

#[test]
fn the_catalog_is_the_directory() {
    let files: BTreeSet<String> = std::fs::read_dir(root().join("patterns"))
        .expect("patterns/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let embedded: BTreeSet<String> = outrigger::catalog::BUILT_IN_SOURCES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(files, embedded);
}

#[test]
fn nothing_is_left_for_later() {
    // Spelt so that this file does not find itself.
    let words = ["TO", "FIX", "XX"]
        .iter()
        .zip(["DO", "ME", "X"])
        .map(|(start, end)| format!("{start}{end}"))
        .collect::<Vec<_>>();
    for (name, text) in all() {
        for word in words
            .iter()
            .map(String::as_str)
            .chain(["dbg!", concat!("unimplemen", "ted!")])
        {
            assert!(!text.contains(word), "src/{name} says `{word}`");
        }
    }
}
