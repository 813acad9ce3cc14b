//! Verify: a Required instance is not believed to be there because the status says so.
//!
//! The Pod is rendered as if nothing had been injected; what Required adds there must be in the Pod as it is: nothing missing,
//! nothing changed, and nothing beside it that would undo it. What the API server fills in, and what other webhooks add to every
//! container, may be there. An app container that came later is given what the others have.

use serde_json::Value;

use super::Context;
use super::contain::contains;
use super::decide::Candidate;
use super::decision::Reason;
use super::draft::{Additions, AppAdditions, Draft};
use super::problem::Problem;
use super::status::Record;
use crate::keys;
use crate::kubernetes::pod::Pod;

/// What `candidate` still adds, if the Pod contains all else of it: nothing, or what app containers get that came later. Its record
/// is as if it were injected now.
pub(super) fn verify(
    candidate: &Candidate,
    draft: &Draft<'_>,
    context: &Context<'_>,
) -> Result<Additions, Problem> {
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
    let mut additions = rendered.additions.into_iter();
    let Some(mut added) = additions.find(|added| added.instance == candidate.instance) else {
        return Err(different(
            "it cannot be injected into this Pod afresh".to_owned(),
        ));
    };
    let recorded = draft.carried.instances.get(&instance);
    let (late, apps) = std::mem::take(&mut added.apps)
        .into_iter()
        .partition(|app| came_later(draft, app, recorded));
    added.apps = apps;
    match missing(draft, &added) {
        None => Ok(Additions {
            containers: Vec::new(),
            volumes: Vec::new(),
            image_pull_secrets: Vec::new(),
            annotations: Vec::new(),
            labels: Vec::new(),
            takeover: None,
            apps: here(draft, late),
            ..added
        }),
        Some(what) => Err(different(format!("{what} is not as it would be injected"))),
    }
}

/// An app container that has nothing of what it should be given, and that nobody meant when the others were given it: another webhook
/// added it since, or whoever wrote the status says so.
fn came_later(draft: &Draft<'_>, app: &AppAdditions, recorded: Option<&Record>) -> bool {
    let targets = recorded
        .map(|record| record.targets.as_slice())
        .unwrap_or_default();
    let main = draft
        .main()
        .and_then(|slot| draft.container(slot))
        .map(|main| &*main.name);
    let has_none = |field: &str, wanted: &[Value], key: &str| {
        let there = || {
            actual(draft, app)
                .into_iter()
                .flat_map(|actual| entries(actual, field))
        };
        wanted
            .iter()
            .all(|wanted| there().all(|item| item.get(key) != wanted.get(key)))
    };
    main.is_some_and(|main| targets.iter().any(|target| target == main))
        && !targets.contains(&app.container)
        && has_none("env", &app.env, "name")
        && has_none("volumeMounts", &app.mounts, "mountPath")
}

/// The same, at the containers' places in the Pod as it is: it has ours among them.
fn here(draft: &Draft<'_>, mut apps: Vec<AppAdditions>) -> Vec<AppAdditions> {
    for app in &mut apps {
        let found = draft
            .apps()
            .find(|(_, container)| container.name == app.container);
        if let Some((slot, _)) = found {
            app.slot = slot;
        }
    }
    apps
}

fn actual<'p>(draft: &Draft<'p>, app: &AppAdditions) -> Option<&'p Value> {
    items(draft.pod, app.slot.list.field())
        .find(|item| item.get("name").and_then(Value::as_str) == Some(&app.container))
}

/// The first addition that the Pod does not contain.
fn missing(draft: &Draft<'_>, added: &Additions) -> Option<String> {
    let pod = draft.pod;
    let there = |field: &'static str, wanted: &Value| {
        items(pod, field).find(|item| item.get("name") == wanted.get("name"))
    };
    let app_names: Vec<&str> = draft.apps().map(|(_, app)| &*app.name).collect();
    let is_app = |container: &&Value| {
        container
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|name| app_names.contains(&name))
    };
    let apps: Vec<&Value> = items(pod, "containers").filter(is_app).collect();
    let container = added.containers.iter().find(|container| {
        let actual = there(container.list.field(), &container.value);
        !actual.is_some_and(|actual| {
            contains(actual, &container.value) && undisturbed(actual, &container.value, &apps)
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
    let app = added.apps.iter().find(|app| !given(draft, app));
    let takeover = added
        .record
        .interpose
        .as_ref()
        .filter(|interposed| !super::carry::taken_over(pod, interposed));
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
        .or_else(|| {
            takeover.map(|interposed| {
                format!(
                    "the take-over of port {} of `{}`",
                    interposed.port, interposed.container
                )
            })
        })
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

/// Whether nothing beside what `wanted` says changes what the container does. Variables and mounts may have been added if an app
/// container has the same ones, as other webhooks give them to all; and the service account's token.
fn undisturbed(actual: &Value, wanted: &Value, apps: &[&Value]) -> bool {
    let mut fields = actual
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, _)| field.as_str());
    let elsewhere = |list: &'static str, entry: &Value| {
        apps.iter()
            .any(|app| entries(app, list).any(|other| other == entry))
    };
    let (ours, our_mounts): (Vec<_>, Vec<_>) = (
        entries(wanted, "env").collect(),
        entries(wanted, "volumeMounts").collect(),
    );
    let variables = entries(actual, "env").all(|entry| {
        match ours
            .iter()
            .find(|wanted| wanted.get("name") == entry.get("name"))
        {
            Some(wanted) => contains(entry, wanted),
            None => elsewhere("env", entry),
        }
    });
    let mounts = entries(actual, "volumeMounts").all(|mount| {
        let there = path(mount);
        match our_mounts
            .iter()
            .find(|wanted| wanted.get("mountPath") == mount.get("mountPath"))
        {
            Some(wanted) => contains(mount, wanted),
            None => {
                !our_mounts
                    .iter()
                    .any(|wanted| overlap(&there, &path(wanted)))
                    && (there == path_of(keys::TOKEN_MOUNT) || elsewhere("volumeMounts", mount))
            }
        }
    });
    fields.all(|field| wanted.get(field).is_some() || MAY_BE_ADDED.contains(&field))
        && variables
        && mounts
}

fn entries<'v>(container: &'v Value, list: &str) -> impl Iterator<Item = &'v Value> {
    container
        .get(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A mount's path, step by step, as the file system takes it.
fn path(mount: &Value) -> Vec<&str> {
    path_of(
        mount
            .get("mountPath")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    )
}

fn path_of(text: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    for step in text
        .split('/')
        .filter(|step| !step.is_empty() && *step != ".")
    {
        if step == ".." {
            steps.pop();
        } else {
            steps.push(step);
        }
    }
    steps
}

/// True if one is, contains or is contained in the other.
fn overlap(one: &[&str], other: &[&str]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}

/// Whether the app container has what it is given.
fn given(draft: &Draft<'_>, app: &AppAdditions) -> bool {
    let actual = actual(draft, app);
    // The last of several variables of one name wins, so each has to be ours.
    let has = |field: &str, wanted: &[Value], key: &str| {
        wanted.iter().all(|wanted| {
            let mut same = actual
                .into_iter()
                .flat_map(|actual| entries(actual, field))
                .filter(|item| item.get(key) == wanted.get(key))
                .peekable();
            same.peek().is_some() && same.all(|item| contains(item, wanted))
        })
    };
    has("env", &app.env, "name") && has("volumeMounts", &app.mounts, "mountPath")
}
