//! Verify: a Required instance is not believed to be there because the status says so.
//!
//! The Pod is rendered as if nothing had been injected; what Required adds there must be in the Pod as it is: nothing missing,
//! nothing changed, and nothing beside it that would undo it. What the API server fills in, and what other webhooks add to every
//! container, may be there.

use serde_json::Value;

use super::Context;
use super::contain::contains;
use super::decide::Candidate;
use super::decision::Reason;
use super::draft::{Additions, AppAdditions, Draft};
use super::problem::Problem;
use super::status::Record;
use crate::keys;
use crate::pod::Pod;

/// The record of `candidate` as it would be injected now, if the Pod contains that.
pub(super) fn verify(
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
    let rendered = super::place::afresh(&fresh, context, &draft.carried);
    let Some(added) = rendered
        .additions
        .iter()
        .find(|added| added.instance == candidate.instance)
    else {
        return Err(different(
            "it cannot be injected into this Pod afresh".to_owned(),
        ));
    };
    let recorded = draft.carried.instances.get(&instance);
    match missing(draft, added, recorded) {
        None => Ok(added.record.clone()),
        Some(what) => Err(different(format!("{what} is not as it would be injected"))),
    }
}

/// The first addition that the Pod does not contain.
fn missing(draft: &Draft<'_>, added: &Additions, recorded: Option<&Record>) -> Option<String> {
    let pod = draft.pod;
    let there = |field: &'static str, wanted: &Value| {
        items(pod, field).find(|item| item.get("name") == wanted.get("name"))
    };
    let container = added.containers.iter().find(|container| {
        let actual = there(container.list.field(), &container.value);
        !actual.is_some_and(|actual| {
            contains(actual, &container.value) && undisturbed(actual, &container.value)
        })
    });
    let volume = added
        .volumes
        .iter()
        .find(|volume| !there("volumes", volume).is_some_and(|actual| contains(actual, volume)));
    let secret = added
        .image_pull_secrets
        .iter()
        .find(|secret| there("imagePullSecrets", secret).is_none());
    let annotation = added
        .annotations
        .iter()
        .find(|(key, value)| pod.annotation(key).as_deref() != Some(value));
    let label = added
        .labels
        .iter()
        .find(|(key, value)| pod.label(key).as_deref() != Some(value));
    let app = added.apps.iter().find(|app| !given(draft, app, recorded));
    let name = |value: &Value| {
        value
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    container
        .map(|container| format!("container `{}`", name(&container.value)))
        .or_else(|| volume.map(|volume| format!("volume `{}`", name(volume))))
        .or_else(|| secret.map(|secret| format!("image pull secret `{}`", name(secret))))
        .or_else(|| annotation.map(|(key, _)| format!("annotation `{key}`")))
        .or_else(|| label.map(|(key, _)| format!("label `{key}`")))
        .or_else(|| app.map(|app| format!("what it gives container `{}`", app.container)))
}

fn items<'p>(pod: &'p Pod<'_>, field: &str) -> impl Iterator<Item = &'p Value> {
    let list = pod
        .value()
        .get("spec")
        .and_then(|spec| spec.get(field))
        .and_then(Value::as_array);
    list.into_iter().flatten()
}

/// What the API server and `LimitRanger` fill in, and what other webhooks add to every container.
const MAY_BE_ADDED: &[&str] = &[
    "env",
    "imagePullPolicy",
    "resizePolicy",
    "resources",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
];

/// Whether nothing beside what `wanted` says changes what the container does: another command, a variable set twice, a mount within
/// one of ours.
fn undisturbed(actual: &Value, wanted: &Value) -> bool {
    let fields = actual
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, _)| field.as_str());
    let no_more_fields = fields
        .into_iter()
        .all(|field| wanted.get(field).is_some() || MAY_BE_ADDED.contains(&field));
    let list = |container: &'_ Value, field: &str| {
        container
            .get(field)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let ours = list(wanted, "env");
    let variables = list(actual, "env").iter().all(|entry| {
        let same_name = ours
            .iter()
            .find(|wanted| wanted.get("name") == entry.get("name"));
        same_name.is_none_or(|wanted| contains(entry, wanted))
    });
    let path = |mount: &Value| {
        mount
            .get("mountPath")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned()
    };
    let ours: Vec<String> = list(wanted, "volumeMounts").iter().map(path).collect();
    let mounts = list(actual, "volumeMounts").iter().map(path).all(|there| {
        ours.contains(&there)
            || !ours
                .iter()
                .any(|ours| there.starts_with(&format!("{ours}/")))
    });
    no_more_fields && variables && mounts
}

/// Whether the app container has what it is given. One that no target was recorded for, beside others that were, came later, by
/// another webhook: Required promises placement at admission.
fn given(draft: &Draft<'_>, app: &AppAdditions, recorded: Option<&Record>) -> bool {
    let targets = recorded
        .map(|record| record.targets.as_slice())
        .unwrap_or_default();
    let main = draft
        .main()
        .and_then(|slot| draft.container(slot))
        .map(|main| &*main.name);
    let came_later = main.is_some_and(|main| targets.iter().any(|target| target == main))
        && !targets.contains(&app.container);
    let actual = items(draft.pod, app.slot.list.field())
        .find(|item| item.get("name").and_then(Value::as_str) == Some(&app.container));
    let has = |field: &str, wanted: &[Value], key: &str| {
        let there = actual
            .and_then(|actual| actual.get(field))
            .and_then(Value::as_array);
        wanted.iter().all(|wanted| {
            there
                .into_iter()
                .flatten()
                .any(|item| item.get(key) == wanted.get(key) && contains(item, wanted))
        })
    };
    came_later || has("env", &app.env, "name") && has("volumeMounts", &app.mounts, "mountPath")
}
