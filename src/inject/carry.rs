//! Carry: instances that the status records are there already and are not rendered again.
//!
//! ```text
//!  in the status? ─ no ─▶ render, merge, check
//!        │ yes
//!        ├─ Required ─▶ render the Pod afresh without its additions; it must contain the result, else denied
//!        └─ else ─────▶ the recorded additions must be there, else denied; other parameters or revision: outdated
//! ```

use serde_json::Value;

use super::decide::Candidate;
use super::decision::{Decision, Reason, Source, Verdict};
use super::draft::{Additions, Draft};
use super::problem::Problem;
use super::settings::Settings;
use super::status::{Record, Status, file_key};
use super::{Context, contain};
use crate::keys;
use crate::pod::{List, Pod};
use crate::text::and_list;

/// Settles a candidate that the status records.
pub(crate) fn carry(mut candidate: Candidate, record: &Record, pod: &Pod<'_>) -> Decision {
    let missing = missing(pod, &candidate.instance.to_string(), record);
    let decision = &mut candidate.decision;
    decision.record = Some(record.clone());
    if let Some(sentence) = missing {
        decision.verdict = Verdict::Denied;
        decision.reason = Reason::AdditionsMissing;
        decision.sentence = sentence;
        return candidate.decision;
    }
    decision.verdict = Verdict::Carried;
    decision.reason = Reason::Carried;
    "it is in the Pod already, as the status records".clone_into(&mut decision.sentence);
    let settings = Settings::of(&decision.layers).complete(&candidate.pattern);
    if let Ok(settings) = &settings {
        decision.params = settings.params.clone();
    }
    let changed = match settings {
        Err(sentence) => Some(format!(
            "its parameters do not fit the pattern any more ({sentence})"
        )),
        Ok(settings) if settings.hash() != record.params => {
            Some("its parameters have changed".to_owned())
        }
        Ok(_) if candidate.pattern.revision != record.revision => {
            Some("its pattern has changed".to_owned())
        }
        Ok(_) => None,
    };
    if let Some(changed) = changed {
        decision.reason = Reason::Outdated;
        decision.sentence = format!("it is in the Pod already, but {changed} since");
        decision.warnings.push(format!(
            "`{}` is outdated: {changed}; take it out with `outrigger uninject` and inject again",
            candidate.instance
        ));
    }
    candidate.decision
}

/// Instances that the status records and nobody wants any more: they are part of the Pod as written.
pub(crate) fn orphans(status: &Status, decisions: &mut Vec<Decision>, pod: &Pod<'_>) {
    for (instance, record) in &status.instances {
        if let Some(decision) = decisions
            .iter_mut()
            .find(|decision| decision.instance == *instance)
        {
            if decision.verdict == Verdict::Skipped {
                decision.warnings.push(format!("`{instance}` is skipped ({}), but its additions are in the Pod: `outrigger uninject` takes them out", decision.reason.code()));
            }
            continue;
        }
        let mut decision = Decision::new(instance.clone(), vec![Source::Status], Reason::Carried);
        decision.verdict = Verdict::Carried;
        decision.record = Some(record.clone());
        "it is in the Pod already, as the status records; nobody asks for it any more"
            .clone_into(&mut decision.sentence);
        if let Some(sentence) = missing(pod, instance, record) {
            decision.verdict = Verdict::Denied;
            decision.reason = Reason::AdditionsMissing;
            decision.sentence = sentence;
        }
        decisions.push(decision);
    }
}

/// A volume under our prefix that no status records: a copy made without its annotations would wait for its files for ever.
pub(crate) fn unrecorded_volume(pod: &Pod<'_>, status: &Status) -> Option<Decision> {
    let volume = pod.spec.volumes.iter().flatten().find(|volume| {
        volume.name.starts_with(keys::VOLUME_PREFIX) && !status.has_volume(&volume.name)
    })?;
    let sentence = format!(
        "volume `{}` is one of Outrigger's, but annotation `{}` does not record it: a copy made without its annotations would hang; use `kubectl debug --copy-to … --keep-annotations`, or `outrigger uninject` before copying",
        crate::text::excerpt(&volume.name, 63),
        keys::STATUS
    );
    Some(Decision::denied(
        &volume.name,
        Source::Status,
        Reason::CopiedWithoutStatus,
        sentence,
    ))
}

/// One sentence for recorded additions that are not in the Pod.
fn missing(pod: &Pod<'_>, instance: &str, record: &Record) -> Option<String> {
    let mut gone: Vec<String> = Vec::new();
    let containers = || pod.containers().map(|(_, container)| &*container.name);
    gone.extend(
        record
            .containers
            .iter()
            .filter(|name| !containers().any(|there| there == *name))
            .map(|name| format!("container {name}")),
    );
    let volumes = || {
        pod.spec
            .volumes
            .iter()
            .flatten()
            .map(|volume| &*volume.name)
    };
    gone.extend(
        record
            .volumes
            .iter()
            .filter(|name| !volumes().any(|there| there == *name))
            .map(|name| format!("volume {name}")),
    );
    let secrets = || {
        pod.spec
            .image_pull_secrets
            .iter()
            .flatten()
            .map(|secret| &*secret.name)
    };
    gone.extend(
        record
            .image_pull_secrets
            .iter()
            .filter(|name| !secrets().any(|there| there == *name))
            .map(|name| format!("image pull secret {name}")),
    );
    let annotated = |key: &str| {
        pod.metadata
            .annotations
            .as_ref()
            .is_some_and(|annotations| annotations.has(key))
    };
    gone.extend(
        record
            .annotations
            .iter()
            .cloned()
            .chain(record.file_keys(instance))
            .filter(|key| !annotated(key))
            .map(|key| format!("annotation {key}")),
    );
    let labelled = |key: &str| {
        pod.metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.has(key))
    };
    gone.extend(
        record
            .labels
            .iter()
            .filter(|key| !labelled(key))
            .map(|key| format!("label {key}")),
    );
    gone.extend(missing_in_apps(pod, record));
    if gone.is_empty() {
        return None;
    }
    Some(format!(
        "annotation `{}` says that `{instance}` is injected, but {} {} not there: remove the annotation, or take everything out with `outrigger uninject`, and inject again",
        keys::STATUS,
        and_list(&gone),
        if gone.len() == 1 { "is" } else { "are" }
    ))
}

fn missing_in_apps(pod: &Pod<'_>, record: &Record) -> Vec<String> {
    let mut gone = Vec::new();
    for (key, parts, what) in [
        ("name", &record.env, "variable"),
        ("mountPath", &record.mounts, "mount"),
    ] {
        for (container, values) in parts {
            let found = pod.containers().find(|(_, there)| there.name == *container);
            let raw = found.and_then(|(_, there)| {
                if what == "mount" {
                    there.volume_mounts
                } else {
                    there.env
                }
            });
            let there: Vec<Value> = raw
                .and_then(|raw| serde_json::from_str(raw.get()).ok())
                .unwrap_or_default();
            gone.extend(
                values
                    .iter()
                    .filter(|value| {
                        !there
                            .iter()
                            .any(|item| item.get(key).and_then(Value::as_str) == Some(value))
                    })
                    .map(|value| format!("{what} {value} of {container}")),
            );
        }
    }
    if let Some(interposed) = &record.interpose
        && let Some(name) = &interposed.name
    {
        let app = pod
            .containers()
            .find(|(_, there)| there.name == interposed.container);
        let named = app.is_some_and(|(_, there)| {
            there
                .ports
                .iter()
                .flatten()
                .any(|port| port.name.as_deref() == Some(name))
        });
        if named {
            gone.push(format!(
                "the take-over of port {name} of {}",
                interposed.container
            ));
        }
    }
    gone
}

/// Renders the Pod as if nothing had been injected, and holds what `candidate` adds there against the Pod as it is.
pub(crate) fn verify(
    candidate: &Candidate,
    draft: &Draft<'_>,
    context: &Context<'_>,
) -> Result<Record, Problem> {
    let instance = candidate.instance.to_string();
    let different = |what: String| {
        Problem::new(
            Reason::NotAsRequired,
            format!(
                "`{instance}` is required, and {what}: take everything out with `outrigger uninject`, or remove annotation `{}` and what it records",
                keys::STATUS
            ),
        )
    };
    let mut base = draft.pod.value().clone();
    super::uninject(&mut base).map_err(different)?;
    let bytes = base.to_string();
    let fresh = Pod::read(bytes.as_bytes()).map_err(|error| different(error.to_string()))?;
    let rendered = super::afresh(&fresh, context, &draft.carried);
    let Some(added) = rendered
        .additions
        .iter()
        .find(|added| added.instance == candidate.instance)
    else {
        return Err(different(
            "it cannot be injected into this Pod afresh".to_owned(),
        ));
    };
    match absent(draft.pod, added) {
        None => Ok(added.record.clone()),
        Some(what) => Err(different(format!("{what} is not as it would be injected"))),
    }
}

/// The first addition that the Pod does not contain.
fn absent(pod: &Pod<'_>, added: &Additions) -> Option<String> {
    let whole = pod.value();
    let list = |field: &str| {
        whole
            .get("spec")
            .and_then(|spec| spec.get(field))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let there = |field: &str, wanted: &Value| {
        list(field)
            .any(|item| item.get("name") == wanted.get("name") && contain::contains(item, wanted))
    };
    let name = |value: &Value| {
        value
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if let Some(container) = added
        .containers
        .iter()
        .find(|container| !there(container.list.field(), &container.value))
    {
        return Some(format!("container `{}`", name(&container.value)));
    }
    if let Some(volume) = added
        .volumes
        .iter()
        .find(|volume| !there("volumes", volume))
    {
        return Some(format!("volume `{}`", name(volume)));
    }
    if let Some(secret) = added
        .image_pull_secrets
        .iter()
        .find(|secret| !there("imagePullSecrets", secret))
    {
        return Some(format!("image pull secret `{}`", name(secret)));
    }
    if let Some((key, _)) = added
        .annotations
        .iter()
        .find(|(key, value)| pod.annotation(key).as_deref() != Some(value))
    {
        return Some(format!("annotation `{key}`"));
    }
    if let Some((key, _)) = added
        .labels
        .iter()
        .find(|(key, value)| pod.label(key).as_deref() != Some(value))
    {
        return Some(format!("label `{key}`"));
    }
    let files = &added.record.files;
    let key = |file: &String| file_key(&added.instance.to_string(), file);
    if let Some(file) = files.iter().find(|(file, hash)| {
        pod.annotation(&key(file))
            .is_none_or(|text| crate::hash::of_text(&text) != **hash)
    }) {
        return Some(format!("annotation `{}`", key(file.0)));
    }
    for app in &added.apps {
        let field = if app.slot.list == List::Init {
            "initContainers"
        } else {
            "containers"
        };
        // Containers are found by name: whoever added one in between has shifted the index.
        let fresh_name = added
            .record
            .env
            .keys()
            .chain(added.record.mounts.keys())
            .find(|container| {
                list(field).any(|item| {
                    name(item) == **container
                        && (!contains_all(item, "env", &app.env)
                            || !contains_all(item, "volumeMounts", &app.mounts))
                })
            });
        if let Some(container) = fresh_name {
            return Some(format!("what it gives container `{container}`"));
        }
    }
    None
}

fn contains_all(container: &Value, field: &str, wanted: &[Value]) -> bool {
    let mut actual = serde_json::Map::new();
    actual.insert(
        field.to_owned(),
        container.get(field).cloned().unwrap_or_default(),
    );
    let mut expected = serde_json::Map::new();
    expected.insert(field.to_owned(), Value::Array(wanted.to_vec()));
    contain::contains(&Value::Object(actual), &Value::Object(expected))
}
