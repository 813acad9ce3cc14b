//! From YAML to a [`Pattern`]: everything that can be known before a Pod is there is found here, with the field's path.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::file::File;
use super::rules::{check_containers, check_metadata, check_name, check_names, check_volumes};
use super::template::{Scope, Tree};
use super::varying::Varying;
use super::{Fault, PatternSpec, Schema, trial, typed};
use crate::catalog::Place;
use crate::hash;
use crate::kubernetes::names::file_name;

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
    varying: Varying,
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
        let varying = Varying::of(&body, &schema);
        let pattern = Self {
            name,
            place,
            revision,
            spec,
            schema,
            body,
            files,
            names,
            varying,
        };
        trial::run(&pattern).map_err(|fault| vec![fault.under("spec")])?;
        Ok(pattern)
    }

    /// What parameters can give another type than the trial rendering saw.
    pub(crate) fn varying(&self) -> &Varying {
        &self.varying
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
                .map(|port| Some(port.unwrap_or_default()))
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
        .map(|fault| {
            if fault.path.strip_prefix('.').is_none() {
                fault
            } else {
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
    hash::of_value(&value)
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
