//! Dress: the parts of a pattern become parts of the Pod: their names, their mounts, what the engine gives to all, `override`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::decision::Reason;
use super::draft::Draft;
use super::problem::Problem;
use super::render::Surroundings;
use super::status::file_key;
use crate::keys;
use crate::kubernetes::names::Instance;
use crate::kubernetes::pod::List;
use crate::pattern::{Fault, Pattern};
use crate::text::{excerpt, or_list, plain, suggestion};

/// How an instance's parts are called.
pub(super) struct Naming<'a> {
    pub(super) pattern: &'a Pattern,
    container: String,
    /// The pattern's volumes whose source rendered to nothing: they are left out, and so are their mounts.
    absent: BTreeSet<String>,
}

impl<'a> Naming<'a> {
    pub(super) fn of(pattern: &'a Pattern, instance: &Instance, volumes: &[Value]) -> Self {
        let bare = |volume: &Value| {
            let fields = volume.as_object().filter(|fields| fields.len() == 1)?;
            fields.get("name")?.as_str().map(str::to_owned)
        };
        Self {
            pattern,
            container: instance.container(),
            absent: volumes.iter().filter_map(bare).collect(),
        }
    }

    fn is_absent(&self, part: &Value) -> bool {
        let name = part.get("name").and_then(Value::as_str);
        name.is_some_and(|name| self.absent.contains(name))
    }

    /// Leaves out the mounts of volumes that are left out, and names the others.
    pub(super) fn mounts(&self, mounts: &mut Vec<Value>, draft: &Draft<'_>) -> Result<(), Problem> {
        mounts.retain(|mount| !self.is_absent(mount));
        mounts
            .iter_mut()
            .try_for_each(|mount| self.mount(mount, draft))
    }

    fn volume(&self, name: &str) -> String {
        format!("{}{}-{name}", keys::VOLUME_PREFIX, self.container)
    }

    /// Renames what a mount names: the pattern's own volume, else one of the Pod's.
    fn mount(&self, mount: &mut Value, draft: &Draft<'_>) -> Result<(), Problem> {
        let Some(Value::String(name)) = mount.get_mut("name") else {
            return Err(Problem::from(Fault::new(
                "name",
                "a mount names its volume",
            )));
        };
        let own = self
            .pattern
            .spec
            .volumes
            .iter()
            .any(|volume| volume.get("name").and_then(Value::as_str) == Some(name))
            || (name == keys::FILES_VOLUME && !self.pattern.spec.files.is_empty())
            || (name == keys::NO_TOKEN_VOLUME && !self.pattern.spec.service_account_token);
        if own {
            *name = self.volume(name);
            return Ok(());
        }
        let volumes = || {
            draft
                .pod
                .spec
                .volumes
                .iter()
                .flatten()
                .map(|volume| &*volume.name)
        };
        if draft.trial || volumes().any(|volume| volume == name) {
            return Ok(());
        }
        let hint = suggestion(name, volumes());
        Err(Problem::new(
            Reason::InvalidParameters,
            format!("`{name}` is no volume of this Pod{hint}"),
        ))
    }

    /// The pattern's volumes under their final names, and the two that we add.
    pub(super) fn volumes(
        &self,
        rendered: Vec<Value>,
        files: &[(String, String)],
        instance: &Instance,
    ) -> Vec<Value> {
        let mut volumes = rendered;
        volumes.retain(|volume| !self.is_absent(volume));
        for volume in &mut volumes {
            if let Some(Value::String(name)) = volume.get_mut("name") {
                *name = self.volume(name);
            }
        }
        if !files.is_empty() {
            let instance = instance.to_string();
            let items: Vec<_> = files
                .iter()
                .map(|(file, _)| json!({"path": file, "fieldRef": {"fieldPath": format!("metadata.annotations['{}']", file_key(&instance, file))}}))
                .collect();
            volumes.push(
                json!({"name": self.volume(keys::FILES_VOLUME), "downwardAPI": {"items": items}}),
            );
        }
        if !self.pattern.spec.service_account_token {
            volumes.push(json!({"name": self.volume(keys::NO_TOKEN_VOLUME), "emptyDir": {}}));
        }
        volumes
    }
}

/// Makes a container of the pattern one of the Pod: its name, its mounts, what the engine gives to all.
pub(super) fn dress(
    container: &mut Value,
    list: List,
    first: bool,
    naming: &Naming<'_>,
    draft: &Draft<'_>,
    around: &Surroundings<'_>,
) -> Result<(), Problem> {
    let Value::Object(fields) = container else {
        return Err(Problem::from(Fault::new("", "a container is a mapping")));
    };
    let name = match fields.get("name").and_then(Value::as_str) {
        Some(own) if !first => format!("{}-{own}", naming.container),
        _ => naming.container.clone(),
    };
    fields.shift_insert(0, "name".to_owned(), Value::String(name));
    if let (Some(registry), Some(Value::String(image))) =
        (around.image_registry, fields.get_mut("image"))
    {
        *image = reroot(image, registry);
    }
    if draft.has_pod_resources() {
        fields.shift_remove("resources");
    }
    for field in ["args", "command"] {
        fields
            .get_mut(field)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .for_each(|item| stringify(Some(item)));
    }
    fields
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .for_each(|entry| stringify(entry.get_mut("value")));
    if fields.get("env").is_some_and(|env| env == &json!([])) {
        fields.shift_remove("env");
    }
    amounts(container);
    let Value::Object(fields) = container else {
        return Ok(());
    };
    if naming.pattern.spec.native && list == List::Regular {
        fields.insert("restartPolicy".to_owned(), json!("Always"));
    }
    let mounts = fields.entry("volumeMounts").or_insert_with(|| json!([]));
    let Value::Array(mounts) = mounts else {
        return Err(Problem::from(Fault::new("volumeMounts", "expected a list")));
    };
    let at = |mounts: &[Value], path: &str| {
        mounts
            .iter()
            .any(|mount| mount.get("mountPath").and_then(Value::as_str) == Some(path))
    };
    if !naming.pattern.spec.files.is_empty() && !at(mounts, keys::FILES_MOUNT) {
        mounts.push(
            json!({"name": keys::FILES_VOLUME, "mountPath": keys::FILES_MOUNT, "readOnly": true}),
        );
    }
    if !naming.pattern.spec.service_account_token && !at(mounts, keys::TOKEN_MOUNT) {
        mounts.push(json!({"name": keys::NO_TOKEN_VOLUME, "mountPath": keys::TOKEN_MOUNT, "readOnly": true}));
    }
    naming
        .mounts(mounts, draft)
        .map_err(|problem| problem.under("volumeMounts"))
}

/// Amounts of resources may be written as numbers; the API's are strings.
fn amounts(container: &mut Value) {
    for kind in ["/resources/requests", "/resources/limits"] {
        let entries = container.pointer_mut(kind).and_then(Value::as_object_mut);
        entries
            .into_iter()
            .flat_map(|entries| entries.values_mut())
            .for_each(|amount| stringify(Some(amount)));
    }
}

/// Numbers and booleans become strings where the API knows only strings.
pub(super) fn stringify(value: Option<&mut Value>) {
    if let Some(value) = value
        && matches!(value, Value::Number(_) | Value::Bool(_))
    {
        *value = Value::String(value.to_string());
    }
}

/// `quay.io/a/b:1` under another registry: the host is replaced, the path stays.
fn reroot(image: &str, registry: &str) -> String {
    let path = match image.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => image,
    };
    format!("{}/{path}", registry.trim_end_matches('/'))
}

/// Merges `override` over the instance's first container, by Kubernetes' merge keys, within what the pattern allows.
pub(super) fn apply_override(
    container: &mut Value,
    overrides: Option<&Value>,
    draft: &Draft<'_>,
    pattern: &Pattern,
) -> Result<(), Problem> {
    let Some(overrides) = overrides else {
        return Ok(());
    };
    let wrong = |sentence: String| Problem::new(Reason::InvalidParameters, sentence);
    let Value::Object(overrides) = overrides else {
        return Err(wrong(format!(
            "`override` is `{}`, expected a mapping of container fields",
            excerpt(&plain(overrides), 60)
        )));
    };
    if overrides.contains_key("resources") && draft.has_pod_resources() {
        return Err(wrong("`override.resources` does not go with the Pod's own `spec.resources`: the Pod's are for all its containers".to_owned()));
    }
    for (field, value) in overrides {
        let allowed = &pattern.spec.overridable;
        if !allowed.contains(field) {
            let known = allowed.iter().map(String::as_str);
            let hint = match suggestion(field, known.clone()) {
                near if near.is_empty() => format!(
                    ", expected {}",
                    if allowed.is_empty() {
                        "none".to_owned()
                    } else {
                        or_list(known)
                    }
                ),
                near => near,
            };
            return Err(wrong(format!(
                "`override.{}` is not allowed by the pattern `{}`{hint}",
                excerpt(field, 60),
                pattern.name
            )));
        }
        if value.is_null() {
            container
                .as_object_mut()
                .and_then(|fields| fields.shift_remove(field));
        } else {
            merge_keyed(&mut container[field.as_str()], value, field);
        }
    }
    amounts(container);
    crate::pattern::check_container(container)
        .map_err(|fault| wrong(format!("`override.{}`: {}", fault.path, fault.message)))
}

/// Strategic merge as far as containers need it: mappings deep, lists with a merge key by that key, other lists replaced.
fn merge_keyed(base: &mut Value, over: &Value, field: &str) {
    let key = match field {
        "env" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        _ => None,
    };
    match (base, over, key) {
        (Value::Object(base), Value::Object(over), _) => {
            for (name, value) in over {
                merge_keyed(base.entry(name.clone()).or_insert(Value::Null), value, name);
            }
            base.retain(|_, value| !value.is_null());
        }
        (Value::Array(base), Value::Array(over), Some(key)) => {
            for item in over {
                match base
                    .iter_mut()
                    .find(|other| other.get(key) == item.get(key))
                {
                    Some(same) => *same = item.clone(),
                    None => base.push(item.clone()),
                }
            }
        }
        (base, over, _) => *base = over.clone(),
    }
}

pub(super) fn check_parts(
    path: &str,
    values: &[Value],
    check: fn(&Value) -> Result<(), Fault>,
) -> Result<(), Problem> {
    for (index, value) in values.iter().enumerate() {
        check(value).map_err(|fault| Problem::from(fault.under(&format!("{path}[{index}]"))))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_rerooted_by_their_path() {
        assert_eq!(
            reroot(
                "quay.io/prometheus/mysqld-exporter:v0.20.0",
                "r.example/mirror"
            ),
            "r.example/mirror/prometheus/mysqld-exporter:v0.20.0"
        );
        assert_eq!(
            reroot("envoyproxy/envoy:v1", "r.example/"),
            "r.example/envoyproxy/envoy:v1"
        );
        assert_eq!(reroot("localhost:5000/a", "r"), "r/a");
        assert_eq!(reroot("redis:7", "r"), "r/redis:7");
    }

    #[test]
    fn overrides_merge_by_key() {
        let mut base = json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}});
        merge_keyed(
            &mut base["env"],
            &json!([{"name": "B", "valueFrom": {}}, {"name": "C", "value": "3"}]),
            "env",
        );
        merge_keyed(
            &mut base["resources"],
            &json!({"limits": {"cpu": "2", "memory": null}}),
            "resources",
        );
        assert_eq!(
            base,
            json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}, {"name": "C", "value": "3"}], "resources": {"limits": {"cpu": "2"}}})
        );
    }
}
