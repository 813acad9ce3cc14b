//! The world around a Pod: catalog and namespaces, built from objects that files (or the cluster) hold.
//!
//! The command line reads it once; the server keeps it fresh (see [`directories`]). Both load an object by the same function, so what
//! one refuses the other refuses with the same sentence.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::binding::Binding;
use crate::catalog::{Catalog, Namespace, Place};
use crate::keys;
use crate::manifest::{Complaint, Object};
use crate::pattern::{Fault, Pattern};
use crate::text::excerpt;
use crate::yaml;

pub(crate) mod directories;

/// What is known besides the Pod, whichever namespace it is in.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    namespaces: BTreeMap<String, Arc<Namespace>>,
    /// A cluster is watched: a namespace that is not here is one that we have not heard of yet.
    pub(crate) is_live: bool,
}

/// One object of the world, checked and compiled.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Namespace(Arc<Namespace>),
    Pattern(Arc<Pattern>),
    Binding(Arc<Binding>),
}

impl World {
    /// `catalog`, and nothing known about any namespace.
    pub(crate) fn of(catalog: Catalog) -> Self {
        Self {
            catalog,
            namespaces: BTreeMap::new(),
            is_live: false,
        }
    }

    /// Adds an item, in place of one of the same kind, namespace and name.
    pub(crate) fn add(&mut self, item: Item) {
        match item {
            Item::Namespace(namespace) => {
                self.namespaces.insert(namespace.name.clone(), namespace);
            }
            Item::Pattern(pattern) => self.catalog.add_pattern(pattern),
            Item::Binding(binding) => self.catalog.add_binding(binding),
        }
    }

    /// The namespace of that name; one that is not known has neither labels nor annotations.
    pub(crate) fn namespace(&self, name: &str) -> Cow<'_, Namespace> {
        match self.namespaces.get(name) {
            Some(namespace) => Cow::Borrowed(namespace),
            None => Cow::Owned(Namespace {
                name: name.to_owned(),
                ..Namespace::default()
            }),
        }
    }

    /// True if the cluster has to be asked about that namespace.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        self.is_live && !self.namespaces.contains_key(name)
    }

    /// True if the cluster has to be asked whether that namespace is enabled: the API server says so, and we have not heard.
    pub(crate) fn doubts(&self, name: &str) -> bool {
        let label =
            |namespace: &Arc<Namespace>| namespace.label(keys::INJECTION) == Some(keys::ENABLED);
        self.is_live && !self.namespaces.get(name).is_some_and(label)
    }
}

impl Item {
    /// Loads a Namespace, a Pattern or a `PatternBinding`; one that names no namespace is in `home`, Outrigger's own.
    pub(crate) fn load(object: &Object<'_>, home: &str) -> Result<Self, Vec<Complaint>> {
        let namespace = object.namespace().unwrap_or(home);
        let loaded = if object.is("v1", "Namespace") {
            read_namespace(object.value).map(|namespace| Self::Namespace(namespace.into()))
        } else if object.is(keys::API_VERSION, keys::PATTERN) {
            Self::pattern(object.value, namespace)
        } else if object.is(keys::API_VERSION, keys::BINDING) {
            Self::binding(object.value, namespace, home)
        } else {
            let message = "expected a Namespace, a Pattern or a PatternBinding".to_owned();
            Err(vec![Fault {
                path: "kind".to_owned(),
                message,
            }])
        };
        loaded.map_err(|faults| {
            faults
                .iter()
                .map(|fault| complaint(object, fault))
                .collect()
        })
    }

    /// A `Pattern` of a namespace.
    pub(crate) fn pattern(object: &Value, namespace: &str) -> Result<Self, Vec<Fault>> {
        let place = Place::Namespace(namespace.to_owned());
        Pattern::load(object, place).map(|pattern| Self::Pattern(pattern.into()))
    }

    /// A `PatternBinding` of a namespace.
    pub(crate) fn binding(object: &Value, namespace: &str, home: &str) -> Result<Self, Vec<Fault>> {
        Binding::load(object, namespace, home).map(|binding| Self::Binding(binding.into()))
    }
}

fn read_namespace(object: &Value) -> Result<Namespace, Vec<Fault>> {
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
pub(crate) fn complaint(object: &Object<'_>, fault: &Fault) -> Complaint {
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
