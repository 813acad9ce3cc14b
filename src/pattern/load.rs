//! From YAML to a [`Pattern`]: everything that can be known before a Pod is there is found here, with the field's path.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::template::{File, Scope, Tree};
use super::{Fault, PatternSpec, Schema, trial, typed};
use crate::catalog::Place;
use crate::hash;
use crate::keys;
use crate::names::{MAX_LABEL, MAX_PATTERN, MAX_SUFFIX, dns_label, file_name};
use crate::text::{or_list, suggestion};

/// A pattern that is ready to render.
#[derive(Debug)]
pub struct Pattern {
    /// `metadata.name`.
    pub name: String,
    /// Where it was found.
    pub place: Place,
    /// Changes when anything of the spec but its summary changes: 16 hexadecimal digits.
    pub revision: String,
    /// As written.
    pub spec: PatternSpec,
    /// Its parameters.
    pub schema: Schema,
    body: Tree,
    files: Vec<(String, File)>,
    names: BTreeSet<String>,
}

/// A rendered pattern: plain JSON under the pattern's own names.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    pub(crate) containers: Vec<Value>,
    pub(crate) init_containers: Vec<Value>,
    pub(crate) volumes: Vec<Value>,
    pub(crate) image_pull_secrets: Vec<Value>,
    pub(crate) annotations: Map<String, Value>,
    pub(crate) labels: Map<String, Value>,
    pub(crate) env: Vec<Value>,
    pub(crate) mounts: Vec<Value>,
    pub(crate) files: Vec<(String, String)>,
}

/// The object around a spec.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    metadata: Metadata,
    spec: PatternSpec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

impl Pattern {
    /// Checks and compiles a `Pattern` object found at `place`; every fault it has, or the pattern.
    pub fn load(object: &Value, place: Place) -> Result<Self, Vec<Fault>> {
        let Object {
            metadata: Metadata { name },
            spec,
        } = typed(object).map_err(|fault| vec![fault])?;
        let mut faults = Vec::new();
        check_name(&name, &mut faults);
        check_containers(&name, &spec, &mut faults);
        check_volumes(&name, &spec, &mut faults);
        check_metadata(&spec, &mut faults);
        let schema = Schema::compile(&spec.params)
            .map_err(|bad| faults.extend(bad.into_iter().map(|fault| fault.under("spec.params"))));
        let body = Tree::compile(&body(&spec), "", &mut faults);
        let files = compile_files(&spec, &mut faults);
        let Ok(schema) = schema else {
            return Err(tidy(faults));
        };
        let names = check_names(&spec, &schema, &body, &files, &mut faults);
        if !faults.is_empty() {
            return Err(tidy(faults));
        }
        let revision = revision(&spec);
        let pattern = Self {
            name,
            place,
            revision,
            spec,
            schema,
            body,
            files,
            names,
        };
        trial::run(&pattern).map_err(|fault| vec![fault.under("spec")])?;
        Ok(pattern)
    }

    /// True if some template of the pattern looks at `name`.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|used| used.split('.').next() == Some(name))
    }

    /// The app's port to take over, a name or a number; `None` for a pattern that does not interpose.
    pub(crate) fn interposed(&self, scope: &Scope) -> Result<Option<Value>, Fault> {
        match self
            .body
            .get("interpose")
            .or(self.fixed("interpose").as_ref())
        {
            None => Ok(None),
            Some(tree) => tree
                .eval(scope)
                .map_err(|fault| fault.under("interpose.port")),
        }
    }

    /// Renders everything in `scope`.
    pub(crate) fn render(&self, scope: &Scope) -> Result<Rendered, Fault> {
        let mut parts = match self.body.eval(scope)? {
            Some(Value::Object(parts)) => parts,
            _ => Map::new(),
        };
        let mut list = |key: &str| match parts.remove(key) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let (containers, init_containers, volumes) =
            (list("containers"), list("initContainers"), list("volumes"));
        let (image_pull_secrets, env, mounts) =
            (list("imagePullSecrets"), list("env"), list("volumeMounts"));
        let mut map = |key: &str| match parts.remove(key) {
            Some(Value::Object(entries)) => entries,
            _ => Map::new(),
        };
        let (annotations, labels) = (map("annotations"), map("labels"));
        let mut files = Vec::with_capacity(self.files.len());
        for (name, file) in &self.files {
            let text = file
                .render(scope)
                .map_err(|fault| fault.under(&format!("files.{name}")))?;
            files.push((name.clone(), text));
        }
        Ok(Rendered {
            containers,
            init_containers,
            volumes,
            image_pull_secrets,
            annotations,
            labels,
            env,
            mounts,
            files,
        })
    }

    fn fixed(&self, key: &str) -> Option<Tree> {
        match &self.body {
            Tree::Fixed(Value::Object(parts)) => {
                parts.get(key).map(|value| Tree::Fixed(value.clone()))
            }
            _ => None,
        }
    }
}

/// The parts of a spec that hold templates, as one tree.
fn body(spec: &PatternSpec) -> Value {
    let mut body = Map::new();
    let mut list =
        |key: &str, items: &[Value]| body.insert(key.to_owned(), Value::Array(items.to_vec()));
    list("containers", &spec.containers);
    list("initContainers", &spec.init_containers);
    list("volumes", &spec.volumes);
    list("imagePullSecrets", &spec.image_pull_secrets);
    list("env", &spec.app.env);
    list("volumeMounts", &spec.app.volume_mounts);
    let map = |entries: &std::collections::BTreeMap<String, Value>| {
        entries.clone().into_iter().collect::<Map<_, _>>()
    };
    body.insert(
        "annotations".to_owned(),
        map(&spec.pod_metadata.annotations).into(),
    );
    body.insert("labels".to_owned(), map(&spec.pod_metadata.labels).into());
    if let Some(interpose) = &spec.interpose {
        body.insert("interpose".to_owned(), interpose.port.clone());
    }
    Value::Object(body)
}

/// Faults of the body carry the body's paths; people know the spec's.
fn tidy(faults: Vec<Fault>) -> Vec<Fault> {
    let renamed = [
        (".env", ".app.env"),
        (".volumeMounts", ".app.volumeMounts"),
        (".annotations", ".podMetadata.annotations"),
        (".labels", ".podMetadata.labels"),
        (".interpose", ".interpose.port"),
    ];
    faults
        .into_iter()
        .map(|fault| match fault.path.strip_prefix('.') {
            None => fault,
            Some(_) => {
                let hit = renamed
                    .iter()
                    .find(|(from, _)| fault.path.starts_with(from));
                let path = hit.map_or(fault.path.clone(), |(from, to)| {
                    fault.path.replacen(from, to, 1)
                });
                Fault::new(format!("spec{path}"), fault.message)
            }
        })
        .collect()
}

fn revision(spec: &PatternSpec) -> String {
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    if let Value::Object(map) = &mut value {
        map.remove("summary");
    }
    hash::of_value(value)
}

fn check_name(name: &str, faults: &mut Vec<Fault>) {
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

fn check_containers(pattern: &str, spec: &PatternSpec, faults: &mut Vec<Fault>) {
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

fn check_volumes(pattern: &str, spec: &PatternSpec, faults: &mut Vec<Fault>) {
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
            let name = mount
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
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

fn check_metadata(spec: &PatternSpec, faults: &mut Vec<Fault>) {
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
            } else if !crate::names::qualified_name(key) {
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

fn compile_files(spec: &PatternSpec, faults: &mut Vec<Fault>) -> Vec<(String, File)> {
    let mut files = Vec::new();
    for (name, source) in &spec.files {
        let path = format!("spec.files.{name}");
        if !file_name(name) {
            faults.push(Fault::new(&path, format!("`{name}` is not a file's name here: expected at most 21 of a-z, 0-9, `-` and `.`, starting and ending with a letter or digit")));
        }
        match File::compile(source) {
            Ok(file) => files.push((name.clone(), file)),
            Err(fault) => faults.push(fault.under(&path)),
        }
    }
    files
}

/// Names that templates use and nobody provides; returns all that are used.
fn check_names(
    spec: &PatternSpec,
    schema: &Schema,
    body: &Tree,
    files: &[(String, File)],
    faults: &mut Vec<Fault>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    body.names(&mut names);
    files.iter().for_each(|(_, file)| file.names(&mut names));
    for name in &names {
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
        faults.push(Fault::new("spec", message));
    }
    names
}
