//! Merge: a fragment against the Pod and what was added so far, part by part, by identity.
//!
//! | part | identity | equal one there | different one there |
//! | --- | --- | --- | --- |
//! | container | name | conflict | conflict |
//! | volume, app env, app mount, config file | name, path, key | left alone | conflict |
//! | image pull secret | name | left alone | – |
//! | Pod annotation, label | key | left alone | stays, with a warning |

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::decision::Reason;
use super::draft::{Additions, Draft};
use super::interpose::take_over;
use super::problem::Problem;
use super::render::Fragment;
use super::status::{Record, file_key};
use crate::keys;
use crate::kubernetes::names::Instance;
use crate::kubernetes::pod::{Named, Pairs};
use crate::text::excerpt;

mod apps;

use apps::{by_container, new_in_apps};

/// Holds `fragment` against the draft. `record` comes with what the caller knows and leaves with the names of what is added.
pub(crate) fn merge(
    draft: &Draft<'_>,
    instance: &Instance,
    rank: i32,
    fragment: Fragment,
    record: Record,
) -> Result<Additions, Problem> {
    let Fragment {
        mut containers,
        volumes,
        image_pull_secrets,
        annotations,
        labels,
        files,
        env,
        mounts,
        targets,
        ports,
        upstream,
    } = fragment;
    let mut warnings = Vec::new();
    let names: Vec<String> = containers
        .iter()
        .filter_map(|container| name(&container.value))
        .collect();
    for name in &names {
        container_is_new(draft, instance, name)?;
    }
    let takeover = match upstream {
        Some(upstream) => Some(take_over(draft, upstream, &mut containers)?),
        None => None,
    };
    let volumes = new_volumes(draft, volumes)?;
    let image_pull_secrets = new_secrets(draft, image_pull_secrets);
    let NewFiles {
        annotations: file_annotations,
        hashes,
        brought,
    } = new_files(draft, instance, files)?;
    let annotations = new_pairs(
        draft,
        "annotation",
        annotations,
        draft.pod.metadata.annotations.as_ref(),
        |added| &added.annotations,
        &mut warnings,
    );
    let labels = new_pairs(
        draft,
        "label",
        labels,
        draft.pod.metadata.labels.as_ref(),
        |added| &added.labels,
        &mut warnings,
    );
    let apps = new_in_apps(draft, &targets, &env, &mounts)?;
    let target_names = targets
        .iter()
        .filter_map(|slot| draft.container(*slot))
        .map(|container| container.name.to_string());
    let has_app_parts = !env.is_empty() || !mounts.is_empty();
    let record = Record {
        containers: names,
        volumes: volumes.iter().filter_map(name).collect(),
        image_pull_secrets: image_pull_secrets.iter().filter_map(name).collect(),
        annotations: annotations.iter().map(|(key, _)| key.clone()).collect(),
        labels: labels.iter().map(|(key, _)| key.clone()).collect(),
        targets: if has_app_parts {
            target_names.collect()
        } else {
            Vec::new()
        },
        env: by_container(&apps, |app| &app.env, "name"),
        mounts: by_container(&apps, |app| &app.mounts, "mountPath"),
        ports,
        files: hashes,
        brought,
        interpose: takeover.as_ref().map(|takeover| takeover.record(draft)),
        ..record
    };
    let annotations = file_annotations.into_iter().chain(annotations).collect();
    Ok(Additions {
        instance: instance.clone(),
        rank,
        containers,
        volumes,
        image_pull_secrets,
        annotations,
        labels,
        apps,
        takeover,
        record,
        warnings,
    })
}

fn name(value: &Value) -> Option<String> {
    value.get("name")?.as_str().map(str::to_owned)
}

fn container_is_new(draft: &Draft<'_>, instance: &Instance, name: &str) -> Result<(), Problem> {
    if draft
        .pod
        .containers()
        .any(|(_, container)| container.name == name)
    {
        let sentence = format!(
            "the Pod has a container `{name}` already: rename it, or ask for `{}.2` instead",
            instance.pattern
        );
        return Err(Problem::new(Reason::Conflict, sentence));
    }
    let added = draft
        .additions
        .iter()
        .find(|added| added.record.containers.iter().any(|other| other == name));
    match added {
        Some(added) => Err(Problem::new(
            Reason::Conflict,
            format!("`{}` adds a container `{name}`, too", added.instance),
        )),
        None => Ok(()),
    }
}

fn new_volumes(draft: &Draft<'_>, volumes: Vec<Value>) -> Result<Vec<Value>, Problem> {
    let mut new = Vec::new();
    for volume in volumes {
        let name = name(&volume).unwrap_or_default();
        let other = draft
            .additions
            .iter()
            .find(|added| added.record.volumes.contains(&name));
        if let Some(other) = other {
            return Err(Problem::new(
                Reason::Conflict,
                format!("`{}` adds a volume `{name}`, too", other.instance),
            ));
        }
        let there = draft
            .pod
            .spec
            .volumes
            .iter()
            .flatten()
            .any(|other| other.name == name);
        if !there {
            new.push(volume);
            continue;
        }
        let existing = draft
            .pod
            .value()
            .get("spec")
            .and_then(|spec| spec.get("volumes"))
            .and_then(Value::as_array);
        let existing = existing
            .into_iter()
            .flatten()
            .find(|other| other.get("name").and_then(Value::as_str) == Some(&name));
        if !existing.is_some_and(|existing| super::contain::contains(existing, &volume)) {
            return Err(Problem::new(
                Reason::Conflict,
                format!(
                    "the Pod has another volume `{name}`; names that start with `{}` are Outrigger's",
                    keys::VOLUME_PREFIX
                ),
            ));
        }
    }
    Ok(new)
}

fn new_secrets(draft: &Draft<'_>, secrets: Vec<Value>) -> Vec<Value> {
    let there = |secrets: &Option<Vec<Named<'_>>>, wanted: &str| {
        secrets.iter().flatten().any(|secret| secret.name == wanted)
    };
    let mut new: Vec<Value> = Vec::new();
    for secret in secrets {
        let wanted = name(&secret).unwrap_or_default();
        let added = draft
            .additions
            .iter()
            .flat_map(|added| &added.image_pull_secrets)
            .chain(&new)
            .any(|other| *other == secret);
        if !added && !there(&draft.pod.spec.image_pull_secrets, &wanted) {
            new.push(secret);
        }
    }
    new
}

/// What becomes of config files.
#[derive(Default)]
struct NewFiles {
    annotations: Vec<(String, String)>,
    hashes: BTreeMap<String, String>,
    brought: Vec<String>,
}

/// Config files become annotations; one that the Pod brings along must be the one we would write.
fn new_files(
    draft: &Draft<'_>,
    instance: &Instance,
    files: Vec<(String, String)>,
) -> Result<NewFiles, Problem> {
    let mut new = NewFiles::default();
    for (file, text) in files {
        let key = file_key(&instance.to_string(), &file);
        new.hashes.insert(file.clone(), crate::hash::of_text(&text));
        let mut added = draft.additions.iter().flat_map(|added| &added.annotations);
        let brought = draft
            .pod
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|annotations| annotations.has(&key));
        if added.any(|(other, _)| *other == key) {
            return Err(Problem::new(
                Reason::Conflict,
                format!("another instance writes annotation `{key}`, too"),
            ));
        } else if !brought {
            new.annotations.push((key, text));
        } else if draft
            .pod
            .annotation(&key)
            .is_some_and(|there| there == text)
        {
            new.brought.push(file);
        } else {
            return Err(Problem::new(
                Reason::Conflict,
                format!(
                    "annotation `{key}` is there with another text: remove it, Outrigger writes it"
                ),
            ));
        }
    }
    Ok(new)
}

fn new_pairs(
    draft: &Draft<'_>,
    kind: &str,
    wanted: Vec<(String, String)>,
    there: Option<&Pairs<'_>>,
    added: fn(&Additions) -> &Vec<(String, String)>,
    warnings: &mut Vec<String>,
) -> Vec<(String, String)> {
    let mut new = Vec::new();
    for (key, value) in wanted {
        let earlier = draft
            .additions
            .iter()
            .flat_map(added)
            .find(|(other, _)| *other == key)
            .map(|(_, value)| Cow::Borrowed(value.as_str()));
        if earlier.is_none()
            && there.is_some_and(|pairs| pairs.has(&key) && pairs.get(&key).is_none())
        {
            warnings.push(format!("{kind} `{key}` stays, although it is no string"));
            continue;
        }
        match earlier.or_else(|| there.and_then(|pairs| pairs.get(&key))) {
            Some(same) if same == value => {}
            Some(other) => warnings.push(format!(
                "{kind} `{key}` stays `{}`, not `{}`",
                excerpt(&other, 40),
                excerpt(&value, 40)
            )),
            None => new.push((key, value)),
        }
    }
    new
}
