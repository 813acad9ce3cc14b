//! Any annotation of ours on a plain Pod, and the same one on its namespace: a decision that says something.

use std::sync::LazyLock;

use outrigger::catalog::{Catalog, Namespace};
use outrigger::inject::{Context, Verdict};
use outrigger::keys;
use serde_json::json;

use crate::laws::hold;
use crate::pods;

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::default);

/// The first line is the key, or what follows `sidecar.outrigger.dev/`; the rest is the value.
pub(crate) fn holds(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (key, value) = text.split_once('\n').unwrap_or((&text, ""));
    let key = if key.contains('/') {
        key.to_owned()
    } else {
        format!("sidecar.{}/{key}", keys::GROUP)
    };
    asked(&key, value);
    offered(key, value);
}

fn asked(key: &str, value: &str) {
    let mut pod = pods::plain();
    pod["metadata"]["annotations"] = json!({key: value});
    let namespace = Namespace::default();
    let context = Context {
        namespace: &namespace,
        catalog: &CATALOG,
    };
    let outcome = hold(&pod, &context).expect("a Pod");
    assert!(
        !keys::is_ours(key) || is_record(key) || !outcome.decisions.is_empty(),
        "no word about `{key}`"
    );
}

fn offered(key: String, value: &str) {
    let namespace = Namespace {
        name: pods::NAMESPACE.to_owned(),
        labels: [(keys::INJECTION.to_owned(), keys::ENABLED.to_owned())].into(),
        annotations: [(key, value.to_owned())].into(),
    };
    let context = Context {
        namespace: &namespace,
        catalog: &CATALOG,
    };
    let outcome = hold(&pods::plain(), &context).expect("a Pod");
    let mut verdicts = outcome.decisions.iter().map(|decision| decision.verdict);
    assert!(
        verdicts.all(|verdict| verdict != Verdict::Denied),
        "an offer denies"
    );
}

/// A file without a status is somebody's leftover, and a status may say that nothing was injected.
fn is_record(key: &str) -> bool {
    key == keys::STATUS || key.starts_with(keys::FILES_PREFIX)
}
