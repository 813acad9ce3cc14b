//! Uninject: takes out exactly what the status says was put in.
//!
//! A list or mapping that becomes empty by it goes, too: the Pod had none before, or an empty one, which means the same.

use serde_json::{Map, Value, json};

use super::status::{Interposed, Record, Status};
use crate::keys;

/// Takes everything out of `pod`, a Pod or a Pod template; the instances taken out, none if there is no status.
pub fn uninject(pod: &mut Value) -> Result<Vec<String>, String> {
    let text = pod
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"))
        .and_then(|annotations| annotations.get(keys::STATUS));
    let status = match text {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => Status::parse(text)?,
        Some(_) => return Err(format!("annotation `{}` is not a string", keys::STATUS)),
    };
    for (instance, record) in &status.instances {
        take_out(pod, instance, record);
    }
    remove_keys(pod, "annotations", std::iter::once(keys::STATUS.to_owned()));
    Ok(status.instances.into_keys().collect())
}

fn take_out(pod: &mut Value, instance: &str, record: &Record) {
    let Record {
        containers,
        volumes,
        image_pull_secrets,
        annotations,
        labels,
        env,
        mounts,
        interpose,
        ..
    } = record;
    let named = |names: &[String]| {
        let names = names.to_vec();
        move |item: &Value| {
            item.get("name")
                .and_then(Value::as_str)
                .is_some_and(|name| names.iter().any(|other| other == name))
        }
    };
    if let Some(spec) = pod.get_mut("spec") {
        for list in ["containers", "initContainers"] {
            remove_items(spec, list, named(containers));
        }
        remove_items(spec, "volumes", named(volumes));
        remove_items(spec, "imagePullSecrets", named(image_pull_secrets));
        for (key, field, parts) in [("name", "env", env), ("mountPath", "volumeMounts", mounts)] {
            for (container, values) in parts {
                if let Some(container) = find(spec, container) {
                    remove_items(container, field, |item| {
                        item.get(key)
                            .and_then(Value::as_str)
                            .is_some_and(|value| values.iter().any(|other| other == value))
                    });
                }
            }
        }
        if let Some(interposed) = interpose {
            give_back(spec, interposed);
        }
    }
    remove_keys(
        pod,
        "annotations",
        annotations
            .iter()
            .cloned()
            .chain(record.added_file_keys(instance)),
    );
    remove_keys(pod, "labels", labels.iter().cloned());
}

fn find<'a>(spec: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let list = ["containers", "initContainers"].into_iter().find(|list| {
        spec.get(*list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|container| container.get("name") == Some(&json!(name)))
    })?;
    spec.get_mut(list)?
        .as_array_mut()?
        .iter_mut()
        .find(|container| container.get("name") == Some(&json!(name)))
}

/// The app's port gets its name back, in the place where people write it, and its probes the name.
fn give_back(spec: &mut Value, interposed: &Interposed) {
    let Interposed {
        container,
        port,
        name: Some(name),
        probes,
        ..
    } = interposed
    else {
        return;
    };
    let Some(container) = find(spec, container) else {
        return;
    };
    let ports = container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    let mut ports = ports.filter_map(Value::as_object_mut);
    let lost = ports.find(|entry| {
        let tcp = entry
            .get("protocol")
            .is_none_or(|protocol| protocol.is_null() || protocol == "TCP");
        tcp && entry.get("containerPort") == Some(&json!(port)) && !entry.contains_key("name")
    });
    if let Some(entry) = lost {
        entry.shift_insert(0, "name".to_owned(), json!(name));
    }
    for path in probes {
        if let Some(value) = container.pointer_mut(&format!("/{path}")) {
            *value = json!(name);
        }
    }
}

fn remove_items(parent: &mut Value, field: &str, unwanted: impl Fn(&Value) -> bool) {
    let Some(Value::Array(items)) = parent.get_mut(field) else {
        return;
    };
    let before = items.len();
    items.retain(|item| !unwanted(item));
    if items.is_empty()
        && before > 0
        && let Value::Object(parent) = parent
    {
        parent.shift_remove(field);
    }
}

fn remove_keys(pod: &mut Value, field: &str, keys: impl Iterator<Item = String>) {
    let Some(Value::Object(metadata)) = pod.get_mut("metadata") else {
        return;
    };
    let Some(Value::Object(entries)) = metadata.get_mut(field) else {
        return;
    };
    let before = entries.len();
    keys.for_each(|key| {
        entries.shift_remove(&key);
    });
    if entries.is_empty() && before > 0 {
        metadata.shift_remove(field);
    }
    if metadata.is_empty()
        && let Value::Object(pod) = pod
    {
        let _: Option<Value> = Map::shift_remove(pod, "metadata");
    }
}
