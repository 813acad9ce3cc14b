//! The namespace a Pod is made in.

use std::collections::BTreeMap;

use crate::keys;

/// A namespace, as far as injection depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

impl Namespace {
    /// A label; the one that names the namespace is always there in a cluster, and here too.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        match self.labels.get(key) {
            Some(value) => Some(value),
            None if key == keys::NAMESPACE_NAME => Some(&self.name),
            None => None,
        }
    }
}
