//! The context that the command line gives to `inject`: what the cluster would know, read from files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::binding::Binding;
use crate::catalog::{Catalog, Namespace, Place};
use crate::keys;
use crate::manifest::{self, Complaint, Object};
use crate::pattern::{Fault, Pattern};
use crate::text::excerpt;
use crate::yaml;

/// What is known besides the manifests.
#[derive(Debug, Args)]
pub(super) struct WorldArgs {
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Files or directories with Namespace, Pattern and PatternBinding objects; those that name no namespace are Outrigger's own
    #[arg(long, value_name = "FILE", num_args = 1..)]
    context: Vec<PathBuf>,
    /// Outrigger's own namespace, whose patterns are everybody's and whose bindings are for the cluster
    #[arg(long, value_name = "NAME", default_value = keys::HOME_NAMESPACE)]
    home: String,
    /// Registry that every pattern's images are pulled from instead of their own
    #[arg(long, value_name = "HOST[/PATH]")]
    image_registry: Option<String>,
}

/// The catalog, and the namespaces by name.
pub(super) struct World {
    pub(super) catalog: Catalog,
    namespaces: BTreeMap<String, Namespace>,
    default: String,
}

impl World {
    /// Reads the context; the inner error lists what is wrong with the objects.
    pub(super) fn read(args: &WorldArgs) -> anyhow::Result<Result<Self, Vec<Complaint>>> {
        let WorldArgs {
            namespace,
            context,
            home,
            image_registry,
        } = args;
        let mut catalog = Catalog::at(home);
        catalog.image_registry.clone_from(image_registry);
        let mut world = Self {
            catalog,
            namespaces: BTreeMap::new(),
            default: namespace.clone(),
        };
        let documents = match manifest::read(context)? {
            Ok(documents) => documents,
            Err(complaints) => return Ok(Err(complaints)),
        };
        let complaints: Vec<_> = documents
            .iter()
            .flat_map(manifest::objects)
            .flat_map(|object| world.add(&object))
            .collect();
        Ok(if complaints.is_empty() {
            Ok(world)
        } else {
            Err(complaints)
        })
    }

    fn add(&mut self, object: &Object<'_>) -> Vec<Complaint> {
        let known = if object.is("v1", "Namespace") {
            namespace(object.value).map(|namespace| {
                self.namespaces.insert(namespace.name.clone(), namespace);
            })
        } else if object.is(keys::API_VERSION, "Pattern") {
            self.add_pattern(object)
        } else if object.is(keys::API_VERSION, "PatternBinding") {
            self.add_binding(object)
        } else {
            let message = "expected a Namespace, a Pattern or a PatternBinding".to_owned();
            Err(vec![Fault {
                path: "kind".to_owned(),
                message,
            }])
        };
        known
            .err()
            .into_iter()
            .flatten()
            .map(|fault| complaint(object, &fault))
            .collect()
    }

    fn add_pattern(&mut self, object: &Object<'_>) -> Result<(), Vec<Fault>> {
        let place = Place::Namespace(object.namespace().unwrap_or(&self.catalog.home).to_owned());
        self.catalog
            .add_pattern(Pattern::load(object.value, place)?);
        Ok(())
    }

    fn add_binding(&mut self, object: &Object<'_>) -> Result<(), Vec<Fault>> {
        let namespace = object.namespace().unwrap_or(&self.catalog.home).to_owned();
        self.catalog
            .add_binding(Binding::load(object.value, &namespace, &self.catalog.home)?);
        Ok(())
    }

    /// The namespace of an object: its own, else the one given on the command line.
    pub(super) fn namespace_of(&self, object: &Value) -> Namespace {
        let name = own_namespace(object).unwrap_or(&self.default);
        self.namespaces
            .get(name)
            .cloned()
            .unwrap_or_else(|| Namespace {
                name: name.to_owned(),
                ..Namespace::default()
            })
    }

    /// The name of the namespace given on the command line.
    pub(super) fn default_namespace(&self) -> &str {
        &self.default
    }
}

fn own_namespace(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("namespace")?.as_str()
}

fn namespace(object: &Value) -> Result<Namespace, Vec<Fault>> {
    let metadata = object.get("metadata");
    let mut faults = Vec::new();
    let mut map = |field: &str| {
        let mut texts = BTreeMap::new();
        for (key, value) in metadata
            .and_then(|metadata| metadata.get(field))
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if let Some(text) = value.as_str() {
                texts.insert(key.clone(), text.to_owned());
            } else {
                let message = format!(
                    "`{key}` is `{}`, expected a string: put quotes around it",
                    excerpt(&value.to_string(), 60)
                );
                faults.push(Fault {
                    path: format!("metadata.{field}"),
                    message,
                });
            }
        }
        texts
    };
    let (labels, annotations) = (map("labels"), map("annotations"));
    let Some(name) = metadata
        .and_then(|metadata| metadata.get("name"))
        .and_then(Value::as_str)
    else {
        return Err(vec![Fault {
            path: "metadata".to_owned(),
            message: "missing field `name`".to_owned(),
        }]);
    };
    if faults.is_empty() {
        Ok(Namespace {
            name: name.to_owned(),
            labels,
            annotations,
        })
    } else {
        Err(faults)
    }
}

/// A fault of a pattern or binding, at its line. One inside a file template is at the line of that template.
pub(super) fn complaint(object: &Object<'_>, fault: &Fault) -> Complaint {
    object.complain(&fault_steps(fault), &fault.to_string())
}

fn fault_steps(fault: &Fault) -> Vec<yaml::Step> {
    // A file's name has dots of its own.
    match fault.path.strip_prefix("spec.files.") {
        Some(file) => ["spec", "files", file]
            .map(|key| yaml::Step::Key(key.to_owned()))
            .to_vec(),
        None => yaml::steps(&fault.path),
    }
}
