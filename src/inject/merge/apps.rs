//! What an instance adds to app containers: variables and mounts, by name and by path.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::inject::contain::same;
use crate::inject::decision::Reason;
use crate::inject::draft::{AppAdditions, Draft};
use crate::inject::problem::Problem;
use crate::kubernetes::pod::Slot;

pub(super) fn by_container(
    apps: &[AppAdditions],
    part: fn(&AppAdditions) -> &Vec<Value>,
    key: &str,
) -> BTreeMap<String, Vec<String>> {
    let keys = |app: &AppAdditions| {
        part(app)
            .iter()
            .filter_map(|value| value.get(key)?.as_str().map(str::to_owned))
            .collect()
    };
    apps.iter()
        .filter(|app| !part(app).is_empty())
        .map(|app| (app.container.clone(), keys(app)))
        .collect()
}

pub(super) fn new_in_apps(
    draft: &Draft<'_>,
    targets: &[Slot],
    env: &[Value],
    mounts: &[Value],
) -> Result<Vec<AppAdditions>, Problem> {
    if env.is_empty() && mounts.is_empty() {
        return Ok(Vec::new());
    }
    let mut apps = Vec::new();
    for slot in targets {
        let Some(container) = draft.container(*slot) else {
            continue;
        };
        let earlier = draft
            .additions
            .iter()
            .flat_map(|added| &added.apps)
            .filter(|app| app.slot == *slot);
        let (mut env_there, mut mounts_there) =
            (list(container.env), list(container.volume_mounts));
        for app in earlier {
            env_there.extend(app.env.iter().cloned());
            mounts_there.extend(app.mounts.iter().cloned());
        }
        let devices = list(container.volume_devices);
        let device = mounts.iter().find_map(|mount| {
            let path = mount.get("mountPath")?;
            devices
                .iter()
                .any(|device| device.get("devicePath") == Some(path))
                .then_some(path)
        });
        if let Some(path) = device {
            return Err(Problem::new(
                Reason::Conflict,
                format!(
                    "container `{}` has a device at `{}`",
                    container.name,
                    path.as_str().unwrap_or_default()
                ),
            ));
        }
        let env = absent(env, &env_there, "name", |key| {
            format!(
                "container `{}` has another value for the variable `{key}`",
                container.name
            )
        })?;
        let mounts = absent(mounts, &mounts_there, "mountPath", |key| {
            format!(
                "container `{}` has something else mounted at `{key}`",
                container.name
            )
        })?;
        if !env.is_empty() || !mounts.is_empty() {
            apps.push(AppAdditions {
                slot: *slot,
                container: container.name.to_string(),
                env,
                mounts,
            });
        }
    }
    Ok(apps)
}

/// Those of `wanted` that are not there yet; a different one under the same key is a conflict.
fn absent(
    wanted: &[Value],
    there: &[Value],
    key: &str,
    sentence: impl Fn(&str) -> String,
) -> Result<Vec<Value>, Problem> {
    let mut new: Vec<Value> = Vec::new();
    for value in wanted {
        match there
            .iter()
            .chain(&new)
            .find(|other| other.get(key) == value.get(key))
        {
            None => new.push(value.clone()),
            Some(other) if same(other, value) => {}
            Some(_) => {
                let key = value.get(key).and_then(Value::as_str).unwrap_or_default();
                return Err(Problem::new(Reason::Conflict, sentence(key)));
            }
        }
    }
    Ok(new)
}

fn list(raw: Option<&RawValue>) -> Vec<Value> {
    raw.and_then(|raw| {
        serde_json::from_str::<Option<Vec<Value>>>(raw.get())
            .ok()
            .flatten()
    })
    .unwrap_or_default()
}
