//! Patch: the draft's additions as RFC 6902 operations on the Pod as it came.
//!
//! Only `add`, at an index, at `-` or at a key; what has no parent yet is added with it. Interpose alone removes and replaces.
//! Operations that address a container by its index come before those that could shift it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::draft::{Additions, Draft};
use super::interpose::Holder;
use crate::keys;
use crate::kubernetes::pod::{List, Slot};

/// One operation of a JSON Patch (RFC 6902 §4).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
}

/// A JSON Patch.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Patch(pub Vec<Operation>);

impl Patch {
    /// True if there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patch as JSON, what an AdmissionReview's `patch` holds before base64.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Room for a config file and the container around it: growing would copy what is there at each step.
        let mut json = Vec::with_capacity(16 * 1024);
        match serde_json::to_writer(&mut json, self) {
            Ok(()) => json,
            Err(_) => Vec::new(),
        }
    }

    fn add(&mut self, path: String, value: Value) {
        self.0.push(Operation::Add { path, value });
    }

    /// Appends to the list at `path`, which is made if it is not there.
    fn append(&mut self, path: &str, there: bool, values: Vec<Value>) {
        if values.is_empty() {
        } else if there {
            values
                .into_iter()
                .for_each(|value| self.add(format!("{path}/-"), value));
        } else {
            self.add(path.to_owned(), Value::Array(values));
        }
    }

    /// Sets keys of the mapping at `path`, which is made if it is not there.
    fn set(&mut self, path: &str, there: bool, entries: Vec<(String, String)>) {
        if entries.is_empty() {
        } else if there {
            entries.into_iter().for_each(|(key, value)| {
                self.add(format!("{path}/{}", escape(&key)), Value::String(value));
            });
        } else {
            let entries: Map<_, _> = entries
                .into_iter()
                .map(|(key, value)| (key, Value::String(value)))
                .collect();
            self.add(path.to_owned(), Value::Object(entries));
        }
    }
}

/// A key as a JSON Pointer's step (RFC 6901 §3).
#[must_use]
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Turns the draft into a patch; empty if nothing was added.
pub(crate) fn patch(draft: Draft<'_>) -> Patch {
    let mut patch = Patch::default();
    if draft.additions.is_empty() {
        return patch;
    }
    let status = draft.status().text();
    let Draft {
        pod, mut additions, ..
    } = draft;
    for added in &additions {
        rename(&mut patch, pod, added);
    }
    // Rendering goes from the innermost interposer outwards; the Pod shows rank order.
    additions
        .sort_by(|left, right| (left.rank, &left.instance).cmp(&(right.rank, &right.instance)));
    apps(&mut patch, pod, &mut additions);
    let (mut regular, mut init, mut first, mut volumes, mut secrets) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut annotations, mut labels) = (Vec::new(), Vec::new());
    for added in additions {
        for container in added.containers {
            match (container.list, container.first) {
                (List::Regular, _) => regular.push(container.value),
                (List::Init, false) => init.push(container.value),
                (List::Init, true) => first.push(container.value),
            }
        }
        volumes.extend(added.volumes);
        secrets.extend(added.image_pull_secrets);
        annotations.extend(added.annotations);
        labels.extend(added.labels);
    }
    annotations.push((keys::STATUS.to_owned(), status));
    patch.append("/spec/containers", true, regular);
    if pod.spec.init_containers.is_none() {
        patch.append(
            "/spec/initContainers",
            false,
            first.into_iter().chain(init).collect(),
        );
    } else {
        for (index, container) in first.into_iter().enumerate() {
            patch.add(format!("/spec/initContainers/{index}"), container);
        }
        patch.append("/spec/initContainers", true, init);
    }
    patch.append("/spec/volumes", pod.spec.volumes.is_some(), volumes);
    patch.append(
        "/spec/imagePullSecrets",
        pod.spec.image_pull_secrets.is_some(),
        secrets,
    );
    if !pod.has_metadata {
        patch.add("/metadata".to_owned(), json!({}));
    }
    patch.set("/metadata/labels", pod.metadata.labels.is_some(), labels);
    patch.set(
        "/metadata/annotations",
        pod.metadata.annotations.is_some(),
        annotations,
    );
    patch
}

/// The app's port loses its name and its probes get the number; an interposer of an earlier injection loses its name.
fn rename(patch: &mut Patch, pod: &crate::kubernetes::pod::Pod<'_>, added: &Additions) {
    let Some(takeover) = &added.takeover else {
        return;
    };
    if takeover.origin.name.is_none() {
        return;
    }
    let Holder::Standing {
        slot,
        index,
        probes,
    } = &takeover.holder
    else {
        return;
    };
    let container = path(*slot);
    let named = match slot.list {
        List::Regular => pod.spec.containers.get(slot.index),
        List::Init => pod.spec.init_containers.iter().flatten().nth(slot.index),
    }
    .and_then(|container| container.ports.as_ref()?.get(*index))
    .is_some_and(|port| port.name.is_some());
    if named {
        patch.0.push(Operation::Remove {
            path: format!("{container}/ports/{index}/name"),
        });
    }
    for probe in probes {
        patch.0.push(Operation::Replace {
            path: format!("{container}/{probe}"),
            value: json!(takeover.upstream),
        });
    }
}

/// Environment and mounts of app containers, one list a container whoever adds to it.
fn apps(patch: &mut Patch, pod: &crate::kubernetes::pod::Pod<'_>, additions: &mut [Additions]) {
    let mut lists: BTreeMap<(bool, usize), (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for app in additions.iter_mut().flat_map(|added| &mut added.apps) {
        let (env, mounts) = lists
            .entry((app.slot.list == List::Init, app.slot.index))
            .or_default();
        env.append(&mut app.env);
        mounts.append(&mut app.mounts);
    }
    for ((init, index), (env, mounts)) in lists {
        let slot = Slot {
            list: if init { List::Init } else { List::Regular },
            index,
        };
        let Some((_, container)) = pod.containers().find(|(other, _)| *other == slot) else {
            continue;
        };
        let there =
            |raw: Option<&serde_json::value::RawValue>| raw.is_some_and(|raw| raw.get() != "null");
        patch.append(&format!("{}/env", path(slot)), there(container.env), env);
        patch.append(
            &format!("{}/volumeMounts", path(slot)),
            there(container.volume_mounts),
            mounts,
        );
    }
}

fn path(Slot { list, index }: Slot) -> String {
    format!("/spec/{}/{index}", list.field())
}
