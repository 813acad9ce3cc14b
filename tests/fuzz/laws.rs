//! What holds for every Pod in every world. `tests/it/laws.rs` asks more, of Pods that it knows.

use std::collections::BTreeSet;

use outrigger::inject::{Context, Outcome, inject, uninject};
use outrigger::keys;
use serde_json::Value;

use crate::meaning::meaning;

/// What a patch never grows to: a field and a file of 256 KiB each, and JSON that escapes every character of them.
const LARGEST_PATCH: usize = 4 * 1024 * 1024;

/// Injects `pod`. A denied Pod has no patch; any other patch applies, leaves nothing to do, and comes off again.
pub(crate) fn hold(pod: &Value, context: &Context<'_>) -> Option<Outcome> {
    // Nothing is promised about a Pod that claims to be injected, but that it is read.
    let _ = uninject(&mut pod.clone());
    let outcome = match inject(pod.to_string().as_bytes(), context) {
        Ok(outcome) => outcome,
        Err(error) => {
            spoken(&error.to_string());
            return None;
        }
    };
    for decision in &outcome.decisions {
        spoken(&decision.sentence);
        decision.warnings.iter().for_each(|warning| spoken(warning));
    }
    let denied = outcome.denials().next().is_some();
    assert!(!denied || outcome.patch.is_empty(), "denied, with a patch");
    if !outcome.patch.is_empty() {
        let json = outcome.patch.to_json();
        assert!(
            json.len() < LARGEST_PATCH,
            "a patch of {} bytes",
            json.len()
        );
        let after = applied(&json, pod);
        if !is_valid(pod) {
            return Some(outcome);
        }
        settled(pod, &after, context);
        if !claims(pod) {
            let mut back = after;
            uninject(&mut back).expect("our own status");
            assert_eq!(meaning(pod), meaning(&back), "not given back");
        }
    }
    Some(outcome)
}

/// A sentence is there, and on one line.
pub(crate) fn spoken(sentence: &str) {
    assert!(!sentence.is_empty(), "nothing is said");
    assert!(!sentence.contains(char::is_control), "{sentence:?}");
}

/// `pod` after the patch, by an RFC 6902 implementation that is not ours.
pub(crate) fn applied(json: &[u8], pod: &Value) -> Value {
    let patch: json_patch::Patch = serde_json::from_slice(json).expect("RFC 6902");
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).expect("a patch that applies");
    pod
}

/// A second pass over what `pod` became finds nothing to do and nothing wrong.
fn settled(pod: &Value, after: &Value, context: &Context<'_>) {
    let again = inject(after.to_string().as_bytes(), context).expect("still a Pod");
    let denials: Vec<_> = again.denials().map(|denied| &denied.sentence).collect();
    assert!(denials.is_empty(), "denied afterwards: {denials:?}: {pod}");
    let more = &again.patch;
    assert!(more.is_empty(), "patched again: {more:?}: {pod}");
}

/// True unless the API server refuses `pod` later on for something that the laws rely on: names that are there and are one's own, and
/// ports that are ports (`pkg/apis/core/validation/validation.go`).
fn is_valid(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"].map(|list| items(&pod["spec"], list));
    let containers = || lists.iter().copied().flatten();
    let are_ports = |container: &Value| {
        let ports = items(container, "ports");
        let in_range = |port: &Value| {
            let number = port["containerPort"].as_u64();
            number.is_some_and(|number| (1..=65535).contains(&number))
        };
        ports.iter().all(in_range)
            && differ(ports.iter().filter(|port| !port["name"].is_null()), "name")
    };
    differ(containers(), "name")
        && containers().all(|container| {
            are_ports(container)
                && differ(items(container, "volumeMounts"), "mountPath")
                && items(container, "env")
                    .iter()
                    .all(|entry| entry["name"].is_string())
        })
        && differ(items(&pod["spec"], "volumes"), "name")
}

fn items<'a>(parent: &'a Value, field: &str) -> &'a [Value] {
    parent[field].as_array().map_or(&[], Vec::as_slice)
}

/// True if every item has a text of its own under `key`.
fn differ<'a>(items: impl IntoIterator<Item = &'a Value>, key: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut is_new = |item: &'a Value| {
        let text = item[key].as_str().filter(|text| !text.is_empty());
        text.is_some_and(|text| seen.insert(text))
    };
    items.into_iter().all(&mut is_new)
}

/// True if `pod` brings a status along: then what is taken out is not only what was just put in.
fn claims(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations")
        .is_some_and(|annotations| annotations.get(keys::STATUS).is_some())
}
