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
use super::settings::Settings;
use super::status::{Interposed, Record, Status};
use crate::keys;
use crate::kubernetes::pod::Pod;
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
        decision.params.clone_from(&settings.params);
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
            if decision.verdict == Verdict::Skipped && missing(pod, instance, record).is_none() {
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
        "annotation `{}` says that `{instance}` is injected, but {} {} not there: put back what was taken, or take everything out with `outrigger uninject` and inject again",
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
        && !taken_over(pod, interposed)
    {
        let port = interposed
            .name
            .clone()
            .unwrap_or_else(|| interposed.port.to_string());
        gone.push(format!(
            "the take-over of port {port} of {}",
            interposed.container
        ));
    }
    gone
}

/// Whether the app's port is without the name that it lost.
pub(super) fn taken_over(pod: &Pod<'_>, interposed: &Interposed) -> bool {
    let Some(name) = &interposed.name else {
        return true;
    };
    let app = pod
        .containers()
        .find(|(_, there)| there.name == interposed.container);
    !app.is_some_and(|(_, there)| {
        there
            .ports
            .iter()
            .flatten()
            .any(|port| port.name.as_deref() == Some(name))
    })
}
