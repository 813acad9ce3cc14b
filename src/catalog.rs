//! Everything that is known besides the Pod: patterns by their three places, bindings, and how they are found.

pub(crate) mod fit;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::binding::Binding;
use crate::keys;
use crate::pattern::{Fault, Pattern};
use crate::yaml;

pub use crate::kubernetes::namespace::Namespace;

/// Where a pattern was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The built-in catalog.
    BuiltIn,
    /// A namespace; Outrigger's own holds those for everybody.
    Namespace(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::Namespace(name) => f.write_str(name),
        }
    }
}

/// Patterns, bindings and the server's settings: the part of the context that many Pods share.
#[derive(Debug)]
pub struct Catalog {
    /// Outrigger's own namespace.
    pub home: String,
    /// Whether bindings of [`Catalog::home`] apply to every namespace.
    pub cluster_wide: bool,
    /// Re-roots every pattern's images.
    pub image_registry: Option<String>,
    patterns: BTreeMap<Place, BTreeMap<String, Arc<Pattern>>>,
    bindings: BTreeMap<String, Vec<Arc<Binding>>>,
}

impl Default for Catalog {
    /// The built-in catalog and nothing else.
    fn default() -> Self {
        Self {
            home: keys::HOME_NAMESPACE.to_owned(),
            cluster_wide: true,
            image_registry: None,
            patterns: [(Place::BuiltIn, BUILT_IN.clone())].into(),
            bindings: BTreeMap::new(),
        }
    }
}

/// The files under `patterns/`, by name.
pub const BUILT_IN_SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/patterns.rs"));

/// Compiled once a process. A built-in that does not load is a mistake of ours that no build gets past: a test loads each.
static BUILT_IN: LazyLock<BTreeMap<String, Arc<Pattern>>> = LazyLock::new(|| {
    BUILT_IN_SOURCES
        .iter()
        .filter_map(|(_, source)| load_source(source).ok())
        .map(|pattern| (pattern.name.clone(), Arc::new(pattern)))
        .collect()
});

fn load_source(source: &str) -> Result<Pattern, Vec<Fault>> {
    let object = yaml::read(source).map_err(|error| {
        vec![Fault {
            path: String::new(),
            message: error.to_string(),
        }]
    })?;
    Pattern::load(&object, Place::BuiltIn)
}

impl Catalog {
    /// The built-in catalog for a server that lives in `home`.
    #[must_use]
    pub fn at(home: &str) -> Self {
        Self {
            home: home.to_owned(),
            ..Self::default()
        }
    }

    /// A catalog without the built-in patterns.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            patterns: BTreeMap::new(),
            ..Self::default()
        }
    }

    /// Adds a pattern where its [`Pattern::place`] says, in place of one of the same name there.
    pub fn add_pattern(&mut self, pattern: impl Into<Arc<Pattern>>) {
        let pattern = pattern.into();
        self.patterns
            .entry(pattern.place.clone())
            .or_default()
            .insert(pattern.name.clone(), pattern);
    }

    /// Adds a binding; those of one namespace are kept by name, which is the order their parameters are merged in.
    pub fn add_binding(&mut self, binding: impl Into<Arc<Binding>>) {
        let binding = binding.into();
        let bindings = self.bindings.entry(binding.namespace.clone()).or_default();
        bindings.retain(|other| other.name != binding.name);
        let at = bindings.partition_point(|other| other.name < binding.name);
        bindings.insert(at, binding);
    }

    /// What an annotation in `namespace` means by `name`: the namespace's own pattern, Outrigger's, the built-in one.
    #[must_use]
    pub fn find(&self, name: &str, namespace: &str) -> Option<&Arc<Pattern>> {
        self.visible(namespace)
            .find_map(|patterns| patterns.get(name))
    }

    /// Every pattern that an annotation in `namespace` can name, by name.
    #[must_use]
    pub fn patterns(&self, namespace: &str) -> Vec<&Arc<Pattern>> {
        let mut found: BTreeMap<&str, &Arc<Pattern>> = BTreeMap::new();
        for patterns in self.visible(namespace) {
            for (name, pattern) in patterns {
                found.entry(name).or_insert(pattern);
            }
        }
        found.into_values().collect()
    }

    fn visible(&self, namespace: &str) -> impl Iterator<Item = &BTreeMap<String, Arc<Pattern>>> {
        let places = [
            Place::Namespace(namespace.to_owned()),
            Place::Namespace(self.home.clone()),
            Place::BuiltIn,
        ];
        places
            .into_iter()
            .filter_map(|place| self.patterns.get(&place))
    }

    /// Bindings that hold for every namespace, by name.
    #[must_use]
    pub fn cluster_bindings(&self) -> &[Arc<Binding>] {
        if self.cluster_wide {
            self.bindings.get(&self.home).map_or(&[], Vec::as_slice)
        } else {
            &[]
        }
    }

    /// True if [`Catalog::home`] has bindings that nobody gets, because the server does not work cluster-wide.
    #[must_use]
    pub fn has_idle_bindings(&self) -> bool {
        !self.cluster_wide && self.bindings.contains_key(&self.home)
    }

    /// Bindings of one namespace, by name; none for Outrigger's own, whose bindings are for the cluster.
    #[must_use]
    pub fn namespace_bindings(&self, namespace: &str) -> &[Arc<Binding>] {
        if namespace == self.home {
            &[]
        } else {
            self.bindings.get(namespace).map_or(&[], Vec::as_slice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_loads_under_its_files_name() {
        for (name, source) in BUILT_IN_SOURCES {
            match load_source(source) {
                Ok(pattern) => assert_eq!(&pattern.name, name),
                Err(faults) => panic!(
                    "{name}: {}",
                    faults
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join("; ")
                ),
            }
        }
    }
}
