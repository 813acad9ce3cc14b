//! Pods out of bytes, and a world for them.
//!
//! A plain Pod is edited: each edit picks an object or a list in it and sets, removes or doubles something there, out of a
//! vocabulary of what Outrigger looks at. So every byte counts, and most Pods stay Pods.

use std::sync::LazyLock;

use outrigger::binding::Binding;
use outrigger::catalog::Catalog;
use outrigger::keys;
use serde_json::{Value, json};

/// The namespace that every Pod is in.
pub(crate) const NAMESPACE: &str = "shop";

/// Edits of one Pod.
const MAX_EDITS: usize = 48;

/// Keys of a Pod, and values that mean something under them: a key, a space, JSON.
static FIELDS: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| {
    let lines = include_str!("fields.txt").lines();
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(key, value)| (key, serde_json::from_str(value).expect("JSON")))
        .collect()
});

/// An app with a port.
pub(crate) fn plain() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop", "namespace": NAMESPACE, "labels": {"app": "shop"}, "annotations": {}},
        "spec": {"containers": [{
            "name": "app",
            "image": "shop:1",
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
        }]},
    })
}

/// The built-in patterns; one is offered to all, one to Redis by its image, one required by a label.
pub(crate) fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let bindings = [
        json!({"metadata": {"name": "all"}, "spec": {"pattern": "https", "params": {"secretName": "platform-tls"}}}),
        json!({"metadata": {"name": "redis"}, "spec": {"pattern": "redis-metrics", "match": {"matchConditions": [
            {"name": "image", "expression": "object.spec.containers.exists(c, c.image.startsWith('redis:'))"},
        ]}}}),
        json!({"metadata": {"name": "sharded"}, "spec": {"pattern": "redis-shard", "enforcement": "Required", "podMaySet": ["port"],
            "params": {"shards": ["redis-0:6379"]}, "match": {"podSelector": {"matchLabels": {"app": "redis"}}}}}),
    ];
    for binding in bindings {
        let home = keys::HOME_NAMESPACE;
        catalog.add_binding(Binding::load(&binding, home, home).expect("a binding"));
    }
    catalog
}

/// A plain Pod after the edits that `bytes` say.
pub(crate) fn edited(bytes: &[u8]) -> Value {
    let mut bytes = bytes.iter().copied();
    let mut pod = plain();
    for _ in 0..MAX_EDITS {
        let Some(place) = bytes.next() else {
            break;
        };
        let mut count = usize::from(place) % parents(&pod);
        if let Some(parent) = parent(&mut pod, &mut count) {
            edit(parent, &mut bytes);
        }
    }
    pod
}

/// Objects and lists, itself among them.
fn parents(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(parents).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(parents).sum::<usize>(),
        _ => 0,
    }
}

/// The object or list after `count` others, from the root down.
fn parent<'a>(value: &'a mut Value, count: &mut usize) -> Option<&'a mut Value> {
    if !(value.is_object() || value.is_array()) {
        return None;
    }
    if *count == 0 {
        return Some(value);
    }
    *count -= 1;
    match value {
        Value::Object(fields) => fields.values_mut().find_map(|value| parent(value, count)),
        Value::Array(items) => items.iter_mut().find_map(|value| parent(value, count)),
        _ => None,
    }
}

fn edit(parent: &mut Value, bytes: &mut impl Iterator<Item = u8>) {
    let mut choose = |limit: usize| usize::from(bytes.next().unwrap_or_default()) % limit.max(1);
    match parent {
        Value::Object(fields) => {
            // A few numbers are left over for removal.
            if let Some((key, value)) = FIELDS.get(choose(FIELDS.len() + 16)) {
                fields.insert((*key).to_owned(), value.clone());
            } else {
                let key = fields.keys().nth(choose(fields.len())).cloned();
                key.and_then(|key| fields.shift_remove(&key));
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let at = choose(items.len());
            match choose(3) {
                0 => items.push(items[at].clone()),
                1 => items.swap(0, at),
                _ => drop(items.remove(at)),
            }
        }
        _ => {}
    }
}
