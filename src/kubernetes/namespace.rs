//! The namespace a Pod is made in.

use std::collections::BTreeMap;

/// A namespace, as far as injection depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}
