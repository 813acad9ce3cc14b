//! Render: a candidate's parameters and its pattern become a fragment, plain JSON under its final names, ready to merge.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Context;
use super::decide::Candidate;
use super::decision::Reason;
use super::draft::{Draft, NewContainer};
use super::dress::{Naming, apply_override, check_parts, dress, stringify};
use super::interpose::{self, Upstream};
use super::problem::Problem;
use super::settings::Settings;
use crate::kubernetes::names::Instance;
use crate::kubernetes::pod::{List, Slot};
use crate::pattern::{Fault, Pattern, Scope};
use crate::text::{excerpt, or_list, plain, suggestion};

/// First of the ports that are given out; below are the engines' defaults and the apps', above 32767 nobody's (`NodePorts` are on nodes).
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
    let targets = targets(settings.into.as_ref(), draft)?;
    let ports = give_ports(pattern, draft, around)?;
    let mut names = vec![
        ("params", Value::Object(settings.params.clone())),
        ("ports", json!(ports)),
        (
            "instance",
            json!({"name": instance.to_string(), "suffix": instance.suffix, "container": instance.container()}),
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
    let mut scope = Scope::new(names);
    let upstream = match pattern.interposed(&scope)? {
        None => None,
        Some(port) => Some(interpose::find(&port, pattern, draft)?),
    };
    if let Some(upstream) = &upstream {
        scope = scope.with("upstream", json!({"port": upstream.port}));
    }
    let rendered = pattern.render(&scope)?;
    let naming = Naming::of(pattern, instance, &rendered.volumes);
    let lists = [
        (List::Regular, rendered.containers),
        (List::Init, rendered.init_containers),
    ];
    let containers = containers(lists, settings, &naming, draft, around)?;
    let volumes = naming.volumes(rendered.volumes, &rendered.files, instance);
    let mut mounts = rendered.mounts;
    naming
        .mounts(&mut mounts, draft)
        .map_err(|problem| problem.under("app.volumeMounts"))?;
    let mut env = rendered.env;
    env.iter_mut()
        .for_each(|entry| stringify(entry.get_mut("value")));
    if targets.is_empty() && !(env.is_empty() && mounts.is_empty()) {
        return Err(Problem::new(
            Reason::NoSuchContainer,
            "the Pod has no app container to give variables or mounts to",
        ));
    }
    let varies = |part: &str| draft.trial || pattern.varying().has(part);
    let secrets = &rendered.image_pull_secrets;
    if varies("volumes") {
        check_parts("volumes", &volumes, crate::pattern::check_volume)?;
    }
    if varies("env") {
        check_parts("app.env", &env, crate::pattern::check_env)?;
    }
    if varies("volumeMounts") {
        check_parts("app.volumeMounts", &mounts, crate::pattern::check_mount)?;
    }
    if varies("imagePullSecrets") {
        check_parts("imagePullSecrets", secrets, crate::pattern::check_secret)?;
    }
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

/// The pattern's containers as the Pod's: dressed, overridden, checked.
fn containers(
    lists: [(List, Vec<Value>); 2],
    settings: &Settings,
    naming: &Naming<'_>,
    draft: &Draft<'_>,
    around: &Surroundings<'_>,
) -> Result<Vec<NewContainer>, Problem> {
    let pattern = naming.pattern;
    let mut containers = Vec::new();
    // `override` is for the first one.
    let mut overrides = settings.overrides.as_ref();
    for (list, values) in lists {
        for (index, mut value) in values.into_iter().enumerate() {
            let at = |problem: Problem| problem.under(&format!("{}[{index}]", list.field()));
            let first = containers.is_empty();
            dress(&mut value, list, first, naming, draft, around).map_err(at)?;
            apply_override(&mut value, overrides.take(), draft, pattern).map_err(at)?;
            let typed = if draft.trial {
                crate::pattern::check_container(&value)
            } else {
                pattern
                    .varying()
                    .narrow(list.field(), &value)
                    .map_or(Ok(()), |part| crate::pattern::check_container(&part))
            };
            typed.map_err(|fault| at(fault.into()))?;
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
    Ok(containers)
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
        Some(Value::Array(names)) => {
            let mut slots = Vec::new();
            for name in names {
                let slot = name
                    .as_str()
                    .and_then(by_name)
                    .ok_or_else(|| wrong(&plain(name)))?;
                if !slots.contains(&slot) {
                    slots.push(slot);
                }
            }
            Ok(slots)
        }
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
        let port = recorded.or_else(|| (FIRST_GIVEN..=u16::MAX).find(|port| free(*port, &given)));
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
