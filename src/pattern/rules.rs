//! What a pattern may say, beyond its types: names, parts, and what must not wait for the app.

use std::collections::BTreeSet;

use serde_json::Value;

use super::file::File;
use super::template::{Scope, Tree};
use super::{Fault, PatternSpec, Schema};
use crate::keys;
use crate::kubernetes::names::{MAX_LABEL, MAX_PATTERN, MAX_SUFFIX, dns_label};
use crate::text::{or_list, suggestion};

pub(super) fn check_name(name: &str, faults: &mut Vec<Fault>) {
    if name.len() > MAX_PATTERN || !dns_label(name) || name.contains("--") {
        faults.push(Fault::new(
            "metadata.name",
            format!("`{name}` is not a pattern's name: expected at most {MAX_PATTERN} of a-z, 0-9 and `-`, no `--`, starting and ending with a letter or digit"),
        ));
    }
}

/// Longest name, container or volume, that a pattern may give a part of its own.
fn room(pattern: &str, prefix: &str) -> usize {
    // <prefix><pattern>--<suffix>-<name>
    MAX_LABEL.saturating_sub(prefix.len() + pattern.len() + 2 + MAX_SUFFIX + 1)
}

pub(super) fn check_containers(pattern: &str, spec: &PatternSpec, faults: &mut Vec<Fault>) {
    if spec.containers.is_empty() && spec.init_containers.is_empty() {
        faults.push(Fault::new(
            "spec.containers",
            "a pattern has at least one container: give `containers` or `initContainers`",
        ));
    }
    if spec.interpose.is_some()
        && spec
            .containers
            .first()
            .and_then(|first| first.get("ports")?.get(0))
            .is_none()
    {
        faults.push(Fault::new(
            "spec.interpose",
            "an interposer's first container has a first port: it takes the app's place",
        ));
    }
    let lists = [
        ("containers", &spec.containers),
        ("initContainers", &spec.init_containers),
    ];
    let mut seen = BTreeSet::new();
    let mut first = true;
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            let path = format!("spec.{list}[{index}]");
            let name = container.get("name").and_then(Value::as_str);
            if std::mem::take(&mut first) {
                if name.is_some_and(|name| name != pattern) {
                    faults.push(Fault::new(format!("{path}.name"), format!("the first container is called like its instance: leave `name` out or write `{pattern}`")));
                }
            } else {
                check_part(name, "", pattern, &path, &mut seen, faults);
            }
            check_container(container, list, spec, &path, faults);
        }
    }
    for field in &spec.overridable {
        if !OVERRIDABLE.contains(&field.as_str()) {
            faults.push(Fault::new(
                "spec.override",
                format!(
                    "`{field}` cannot be overridden, expected {}",
                    or_list(OVERRIDABLE)
                ),
            ));
        }
    }
}

/// What a pattern may leave to `override`: nothing that names or places the container.
const OVERRIDABLE: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "workingDir",
];

fn check_container(
    container: &Value,
    list: &str,
    spec: &PatternSpec,
    path: &str,
    faults: &mut Vec<Fault>,
) {
    if container.get("image").is_none() {
        faults.push(Fault::new(path, "a container has an `image`"));
    }
    if container.get("restartPolicy").is_some() {
        faults.push(Fault::new(format!("{path}.restartPolicy"), "Outrigger sets `restartPolicy`: say `native` and choose between `containers` and `initContainers`"));
    }
    if list == "initContainers" {
        for probe in [
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ]
        .iter()
        .filter(|probe| container.get(**probe).is_some())
        {
            faults.push(Fault::new(
                format!("{path}.{probe}"),
                format!("a run-to-completion container has no `{probe}`"),
            ));
        }
    }
    if !spec.native || list == "initContainers" {
        return;
    }
    // A native sidecar that waits for the app before it counts as started waits for ever: the app starts after it.
    for (field, part) in [
        ("startupProbe", container.get("startupProbe")),
        (
            "lifecycle.postStart",
            container
                .get("lifecycle")
                .and_then(|lifecycle| lifecycle.get("postStart")),
        ),
    ] {
        let Some(part) = part else { continue };
        let mut names = BTreeSet::new();
        Tree::compile(part, "", &mut Vec::new()).names(&mut names);
        for name in names.iter().filter(|name| {
            ["upstream", "app", "pod"].contains(&name.split('.').next().unwrap_or_default())
        }) {
            faults.push(Fault::new(format!("{path}.{field}"), format!("waits for `{name}`, but the app starts only after this container has started: the Pod would hang")));
        }
    }
}

fn check_part(
    name: Option<&str>,
    prefix: &str,
    pattern: &str,
    path: &str,
    seen: &mut BTreeSet<String>,
    faults: &mut Vec<Fault>,
) {
    let room = room(pattern, prefix);
    match name {
        None => faults.push(Fault::new(path, "needs a `name`")),
        Some(name) if name.len() > room || !dns_label(name) => faults.push(Fault::new(
            format!("{path}.name"),
            format!("`{name}` is not a name here: expected at most {room} of a-z, 0-9 and `-`, starting and ending with a letter or digit"),
        )),
        Some(name) if !seen.insert(name.to_owned()) => faults.push(Fault::new(format!("{path}.name"), format!("`{name}` is there twice"))),
        Some(_) => {}
    }
}

pub(super) fn check_volumes(pattern: &str, spec: &PatternSpec, faults: &mut Vec<Fault>) {
    let mut seen: BTreeSet<String> = [keys::FILES_VOLUME, keys::NO_TOKEN_VOLUME]
        .map(str::to_owned)
        .into();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let name = volume.get("name").and_then(Value::as_str);
        check_part(
            name,
            keys::VOLUME_PREFIX,
            pattern,
            &format!("spec.volumes[{index}]"),
            &mut seen,
            faults,
        );
        // The API server would take it for an `emptyDir`; here a volume without a source is one that is left out.
        if volume.as_object().is_some_and(|fields| fields.len() == 1) {
            faults.push(Fault::new(
                format!("spec.volumes[{index}]"),
                "needs a source, such as `emptyDir: {}`",
            ));
        }
    }
    let lists = [
        ("containers", &spec.containers),
        ("initContainers", &spec.init_containers),
    ];
    let containers = lists.iter().flat_map(|(list, containers)| {
        containers
            .iter()
            .enumerate()
            .map(move |(index, container)| {
                (
                    format!("spec.{list}[{index}]"),
                    container.get("volumeMounts"),
                )
            })
    });
    let app = spec.app.volume_mounts.clone();
    let app = Value::Array(app);
    for (path, mounts) in containers.chain([("spec.app".to_owned(), Some(&app))]) {
        for (index, mount) in mounts
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate()
        {
            // A mount that is one template as a whole gets its name only with a Pod.
            let Value::Object(mount) = mount else {
                continue;
            };
            let name = mount
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            // What a template gives is known at admission only, and may be one of the Pod's.
            if !name.contains("{{") && !seen.contains(name) {
                faults.push(Fault::new(
                    format!("{path}.volumeMounts[{index}].name"),
                    format!(
                        "`{name}` is no volume of this pattern{}",
                        suggestion(name, seen.iter().map(String::as_str))
                    ),
                ));
            }
        }
    }
}

pub(super) fn check_metadata(spec: &PatternSpec, faults: &mut Vec<Fault>) {
    for (field, entries) in [
        ("annotations", &spec.pod_metadata.annotations),
        ("labels", &spec.pod_metadata.labels),
    ] {
        for key in entries.keys() {
            let path = format!("spec.podMetadata.{field}");
            if keys::is_ours(key) {
                faults.push(Fault::new(
                    path,
                    format!("`{key}`: keys under `{}` are Outrigger's own", keys::GROUP),
                ));
            } else if !crate::kubernetes::names::qualified_name(key) {
                faults.push(Fault::new(
                    path,
                    format!("`{key}` is not a qualified name such as `example.com/name`"),
                ));
            }
        }
    }
    for name in spec.ports.keys() {
        let plain = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
        };
        if !name.starts_with(|character: char| character.is_ascii_lowercase())
            || !name.chars().all(plain)
        {
            faults.push(Fault::new("spec.ports", format!("`{name}` cannot follow `ports.` in a template: expected a-z, 0-9 and `_`, starting with a letter")));
        }
    }
}

/// Names that templates use and nobody provides; returns all that are used.
pub(super) fn check_names(
    spec: &PatternSpec,
    schema: &Schema,
    body: &Tree,
    files: &[(String, File)],
    faults: &mut Vec<Fault>,
) -> BTreeSet<String> {
    let mut used = Vec::new();
    body.names_by_leaf("", &mut used);
    used.extend(files.iter().map(|(name, file)| {
        let mut names = BTreeSet::new();
        file.names(&mut names);
        (format!("spec.files.{name}"), names)
    }));
    for (path, name) in used
        .iter()
        .flat_map(|(path, names)| names.iter().map(move |name| (path, name)))
    {
        let mut steps = name.split('.');
        let (root, field) = (steps.next().unwrap_or_default(), steps.next());
        let message = match (root, field) {
            (root, _) if !Scope::NAMES.contains(&root) => format!(
                "`{root}` is not a name that templates know{}",
                suggestion(root, Scope::NAMES.iter().copied())
            ),
            ("upstream", _) if spec.interpose.is_none() => {
                "`upstream` is there only for a pattern that interposes".to_owned()
            }
            ("params", Some(field)) if !schema.names().any(|known| known == field) => format!(
                "`params.{field}` is not in the schema{}",
                suggestion(field, schema.names())
            ),
            ("ports", Some(field)) if !spec.ports.contains_key(field) => {
                format!("`ports.{field}` is not among the pattern's `ports`")
            }
            _ => continue,
        };
        faults.push(Fault::new(path, message));
    }
    used.into_iter().flat_map(|(_, names)| names).collect()
}
