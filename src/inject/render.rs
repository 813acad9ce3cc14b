//! Render: a candidate's parameters and its pattern become a fragment, plain JSON under its final names, ready to merge.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Context;
use super::decide::Candidate;
use super::decision::{Layer, Reason};
use super::interpose::{self, Upstream};
use super::merge::Draft;
use super::problem::Problem;
use super::status::file_key;
use crate::keys;
use crate::names::Instance;
use crate::pattern::{Fault, Pattern, Scope, plain};
use crate::pod::{List, Pod, Slot};
use crate::text::{and_list, excerpt, or_list, suggestion};

/// First of the ports that are given out; below are the engines' defaults and the apps', above 32767 nobody's (NodePorts are on nodes).
const FIRST_GIVEN: u16 = 17_000;

/// A rendered pattern under its final names.
#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) containers: Vec<NewContainer>,
    pub(crate) volumes: Vec<Value>,
    pub(crate) image_pull_secrets: Vec<Value>,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) labels: Vec<(String, String)>,
    /// File name and text.
    pub(crate) files: Vec<(String, String)>,
    pub(crate) env: Vec<Value>,
    pub(crate) mounts: Vec<Value>,
    pub(crate) targets: Vec<Slot>,
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) upstream: Option<Upstream>,
}

/// A container to add.
#[derive(Debug)]
pub(crate) struct NewContainer {
    pub(crate) list: List,
    pub(crate) first: bool,
    pub(crate) value: Value,
}

/// The parameters that are the pattern's, and the two keys that are ours in every pattern.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) params: Map<String, Value>,
    pub(crate) into: Option<Value>,
    pub(crate) overrides: Option<Value>,
}

impl Settings {
    /// Merges the layers: mappings deep, lists replaced, null back to the default.
    pub(crate) fn of(layers: &[Layer]) -> Self {
        let mut params = Map::new();
        for layer in layers {
            merge_deep(&mut params, &layer.params);
        }
        let into = params.remove("into");
        let overrides = params.remove("override");
        Self {
            params,
            into,
            overrides,
        }
    }

    /// Fills in the pattern's defaults and validates.
    pub(crate) fn complete(self, pattern: &Pattern) -> Result<Self, String> {
        let Self {
            params,
            into,
            overrides,
        } = self;
        let mut params = Value::Object(params);
        pattern.schema.complete(&mut params);
        pattern.schema.check(&params)?;
        let Value::Object(params) = params else {
            return Err("the parameters are no mapping".to_owned());
        };
        Ok(Self {
            params,
            into,
            overrides,
        })
    }

    /// One hash for all that an instance was given.
    pub(crate) fn hash(&self) -> String {
        let Self {
            params,
            into,
            overrides,
        } = self;
        crate::hash::of_value(json!({"params": params, "into": into, "override": overrides}))
    }
}

fn merge_deep(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (_, Value::Null) => {
                base.remove(key);
            }
            (Some(Value::Object(base)), Value::Object(over)) => merge_deep(base, over),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// What render needs besides the Pod: the context's part, so that the trial at load can do without a context.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) namespace: Value,
    pub(crate) image_registry: Option<&'a str>,
    /// Ports recorded earlier, taken again where they are still free.
    pub(crate) recorded_ports: BTreeMap<String, u16>,
    /// Numbers that someone's parameters name: nothing is given out among them.
    pub(crate) spoken_for: Vec<u16>,
}

impl<'a> Surroundings<'a> {
    /// The context's part; `candidates` are all of the Pod's, for the ports that they name.
    pub(crate) fn of(context: &Context<'a>, candidates: &[Candidate]) -> Self {
        let mut spoken_for = Vec::new();
        for layer in candidates
            .iter()
            .flat_map(|candidate| &candidate.decision.layers)
        {
            layer
                .params
                .values()
                .for_each(|value| numbers(value, &mut spoken_for));
        }
        let uses_namespace = candidates
            .iter()
            .any(|candidate| candidate.pattern.uses("namespace"));
        let namespace = if uses_namespace {
            namespace(context)
        } else {
            Value::Null
        };
        Self {
            namespace,
            image_registry: context.catalog.image_registry.as_deref(),
            recorded_ports: BTreeMap::new(),
            spoken_for,
        }
    }
}

fn namespace(context: &Context<'_>) -> Value {
    let crate::catalog::Namespace {
        name,
        labels,
        annotations,
    } = context.namespace;
    json!({"name": name, "labels": labels, "annotations": annotations})
}

/// The port numbers that a parameter may mean.
fn numbers(value: &Value, into: &mut Vec<u16>) {
    match value {
        Value::Number(number) => into.extend(
            number
                .as_u64()
                .and_then(|number| u16::try_from(number).ok())
                .filter(|port| *port >= FIRST_GIVEN),
        ),
        Value::Array(items) => items.iter().for_each(|item| numbers(item, into)),
        Value::Object(map) => map.values().for_each(|item| numbers(item, into)),
        _ => {}
    }
}

/// Renders `pattern` as `instance`, into what `draft` has so far.
pub(crate) fn render(
    pattern: &Pattern,
    instance: &Instance,
    settings: &Settings,
    draft: &Draft<'_>,
    around: &Surroundings<'_>,
) -> Result<Fragment, Problem> {
    let pod = draft.pod;
    let targets = targets(settings.into.as_ref(), draft)?;
    let ports = give_ports(pattern, draft, around)?;
    let mut names = vec![
        ("params", Value::Object(settings.params.clone())),
        ("ports", json!(ports)),
        (
            "instance",
            json!({"name": instance.to_string(), "container": instance.container()}),
        ),
    ];
    for (name, value) in [
        ("pod", pod_value as fn(&Draft<'_>) -> Value),
        ("app", app_value),
    ] {
        if pattern.uses(name) {
            names.push((name, value(draft)));
        }
    }
    if pattern.uses("namespace") {
        names.push(("namespace", around.namespace.clone()));
    }
    let upstream = match pattern.interposed(&Scope::new(names.clone()))? {
        None => None,
        Some(port) => Some(interpose::find(&port, pattern, draft)?),
    };
    if let Some(upstream) = &upstream {
        names.push(("upstream", json!({"port": upstream.port})));
    }
    let rendered = pattern.render(&Scope::new(names))?;
    let naming = Naming::of(pattern, instance);
    let mut containers = Vec::new();
    let mut first = true;
    for (list, values) in [
        (List::Regular, rendered.containers),
        (List::Init, rendered.init_containers),
    ] {
        let field = list.field();
        for (index, mut value) in values.into_iter().enumerate() {
            let overrides = if first {
                settings.overrides.as_ref()
            } else {
                None
            };
            dress(
                &mut value,
                list,
                std::mem::take(&mut first),
                &naming,
                pod,
                around,
            )
            .and_then(|()| apply_override(&mut value, overrides, pattern))
            .map_err(|problem| problem.under(&format!("{field}[{index}]")))?;
            crate::pattern::check_container(&value)
                .map_err(|fault| Problem::from(fault.under(&format!("{field}[{index}]"))))?;
            let native = list == List::Regular && pattern.spec.native;
            containers.push(NewContainer {
                list: if native { List::Init } else { list },
                first: pattern.spec.first,
                value,
            });
        }
    }
    // Run-to-completion helpers come before the long-running ones they prepare for.
    containers.sort_by_key(|container| container.value.get("restartPolicy").is_some());
    let volumes = naming.volumes(rendered.volumes, &rendered.files, instance)?;
    let mut mounts = rendered.mounts;
    mounts.iter_mut().try_for_each(|mount| {
        naming
            .mount(mount, pod)
            .map_err(|problem| problem.under("app.volumeMounts"))
    })?;
    let mut env = rendered.env;
    env.iter_mut()
        .for_each(|entry| stringify(entry.get_mut("value")));
    check_parts("app.env", &env, crate::pattern::check_env)?;
    check_parts("app.volumeMounts", &mounts, crate::pattern::check_mount)?;
    check_parts(
        "imagePullSecrets",
        &rendered.image_pull_secrets,
        crate::pattern::check_secret,
    )?;
    Ok(Fragment {
        containers,
        volumes,
        image_pull_secrets: rendered.image_pull_secrets,
        annotations: texts(rendered.annotations, "podMetadata.annotations")?,
        labels: texts(rendered.labels, "podMetadata.labels")?,
        files: rendered.files,
        env,
        mounts,
        targets,
        ports,
        upstream,
    })
}

fn pod_value(draft: &Draft<'_>) -> Value {
    let whole = draft.pod.value();
    json!({"metadata": whole.get("metadata"), "spec": whole.get("spec")})
}

fn app_value(draft: &Draft<'_>) -> Value {
    let containers = draft
        .pod
        .value()
        .get("spec")
        .and_then(|spec| spec.get("containers"));
    draft
        .main()
        .and_then(|slot| containers?.get(slot.index).cloned())
        .unwrap_or_default()
}

fn check_parts(
    path: &str,
    values: &[Value],
    check: fn(&Value) -> Result<(), Fault>,
) -> Result<(), Problem> {
    for (index, value) in values.iter().enumerate() {
        check(value).map_err(|fault| Problem::from(fault.under(&format!("{path}[{index}]"))))?;
    }
    Ok(())
}

/// Annotations and labels are strings; scalars become ones.
fn texts(entries: Map<String, Value>, path: &str) -> Result<Vec<(String, String)>, Problem> {
    entries
        .into_iter()
        .map(|(key, value)| match value {
            Value::Array(_) | Value::Object(_) | Value::Null => Err(Problem::from(Fault::new(
                path,
                format!(
                    "`{key}` is `{}`, expected a string",
                    excerpt(&value.to_string(), 40)
                ),
            ))),
            scalar => Ok((key, plain(&scalar))),
        })
        .collect()
}

/// Which app containers get the pattern's environment and mounts.
fn targets(into: Option<&Value>, draft: &Draft<'_>) -> Result<Vec<Slot>, Problem> {
    let wrong = |text: &str| {
        let names: Vec<_> = draft
            .apps()
            .map(|(_, container)| container.name.to_string())
            .collect();
        let near = suggestion(text, names.iter().map(String::as_str));
        let hint = if near.is_empty() {
            format!(", expected {}, `main` or `all`", or_list(&names))
        } else {
            near
        };
        Problem::new(
            Reason::NoSuchContainer,
            format!(
                "`into` names `{}`, which is no app container of this Pod{hint}",
                excerpt(text, 63)
            ),
        )
    };
    let by_name = |name: &str| {
        draft
            .apps()
            .find(|(_, container)| container.name == name)
            .map(|(slot, _)| slot)
    };
    match into {
        None => Ok(draft.main().into_iter().collect()),
        Some(Value::String(word)) if word == "main" => Ok(draft.main().into_iter().collect()),
        Some(Value::String(word)) if word == "all" => Ok(draft
            .apps()
            .filter(|(slot, _)| slot.list == List::Regular)
            .map(|(slot, _)| slot)
            .collect()),
        Some(Value::String(name)) => by_name(name)
            .map(|slot| vec![slot])
            .ok_or_else(|| wrong(name)),
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| {
                name.as_str()
                    .and_then(by_name)
                    .ok_or_else(|| wrong(&plain(name)))
            })
            .collect(),
        Some(other) => Err(Problem::new(
            Reason::InvalidParameters,
            format!(
                "`into` is `{}`, expected a list of container names, `main` or `all`",
                excerpt(&plain(other), 60)
            ),
        )),
    }
}

/// The lowest ports from 17000 up that are nobody's; recorded ones first.
fn give_ports(
    pattern: &Pattern,
    draft: &Draft<'_>,
    around: &Surroundings<'_>,
) -> Result<BTreeMap<String, u16>, Problem> {
    let mut given = BTreeMap::new();
    if pattern.spec.ports.is_empty() {
        return Ok(given);
    }
    let taken = draft.port_numbers();
    let free = |port: u16, given: &BTreeMap<String, u16>| {
        !taken.contains(&i64::from(port))
            && !around.spoken_for.contains(&port)
            && !given.values().any(|other| *other == port)
    };
    for name in pattern.spec.ports.keys() {
        let recorded = around
            .recorded_ports
            .get(name)
            .copied()
            .filter(|port| *port >= FIRST_GIVEN && free(*port, &given));
        let port = recorded.or_else(|| (FIRST_GIVEN..).find(|port| free(*port, &given)));
        let port = port.ok_or_else(|| {
            Problem::new(
                Reason::Conflict,
                format!("no port is left from {FIRST_GIVEN} up"),
            )
        })?;
        given.insert(name.clone(), port);
    }
    Ok(given)
}

/// How an instance's parts are called.
struct Naming<'a> {
    pattern: &'a Pattern,
    container: String,
}

impl<'a> Naming<'a> {
    fn of(pattern: &'a Pattern, instance: &Instance) -> Self {
        Self {
            pattern,
            container: instance.container(),
        }
    }

    fn volume(&self, name: &str) -> String {
        format!("{}{}-{name}", keys::VOLUME_PREFIX, self.container)
    }

    /// Renames what a mount names: the pattern's own volume, else one of the Pod's.
    fn mount(&self, mount: &mut Value, pod: &Pod<'_>) -> Result<(), Problem> {
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
            pod.spec
                .volumes
                .iter()
                .flatten()
                .map(|volume| &*volume.name)
        };
        if volumes().any(|volume| volume == name) {
            return Ok(());
        }
        let hint = suggestion(name, volumes());
        Err(Problem::new(
            Reason::InvalidParameters,
            format!("`{name}` is no volume of this Pod{hint}"),
        ))
    }

    /// The pattern's volumes under their final names, and the two that we add.
    fn volumes(
        &self,
        rendered: Vec<Value>,
        files: &[(String, String)],
        instance: &Instance,
    ) -> Result<Vec<Value>, Problem> {
        let mut volumes = rendered;
        for volume in &mut volumes {
            if let Some(Value::String(name)) = volume.get_mut("name") {
                *name = self.volume(name);
            }
        }
        check_parts("volumes", &volumes, crate::pattern::check_volume)?;
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
        Ok(volumes)
    }
}

/// Makes a container of the pattern one of the Pod: its name, its mounts, what the engine gives to all.
fn dress(
    container: &mut Value,
    list: List,
    first: bool,
    naming: &Naming<'_>,
    pod: &Pod<'_>,
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
    if pod
        .spec
        .resources
        .is_some_and(|raw| !matches!(raw.get().trim(), "null" | "{}"))
    {
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
    mounts.iter_mut().try_for_each(|mount| {
        naming
            .mount(mount, pod)
            .map_err(|problem| problem.under("volumeMounts"))
    })
}

/// Numbers and booleans become strings where the API knows only strings.
fn stringify(value: Option<&mut Value>) {
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
fn apply_override(
    container: &mut Value,
    overrides: Option<&Value>,
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
                        and_list(known)
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
        let slot = &mut container[field.as_str()];
        merge_keyed(slot, value, field);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_merge_deep_lists_replace_null_resets() {
        let layer = |params: Value| Layer {
            source: super::super::decision::Source::Status,
            params: params.as_object().cloned().unwrap_or_default(),
        };
        let settings = Settings::of(&[
            layer(json!({"a": {"b": 1, "c": 2}, "l": [1, 2], "gone": 1, "into": "all"})),
            layer(json!({"a": {"b": 3}, "l": [3], "gone": null, "override": {"image": "x"}})),
        ]);
        assert_eq!(
            Value::Object(settings.params),
            json!({"a": {"b": 3, "c": 2}, "l": [3]})
        );
        assert_eq!(settings.into, Some(json!("all")));
        assert_eq!(settings.overrides, Some(json!({"image": "x"})));
    }

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
