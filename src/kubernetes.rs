//! Kubernetes: what we read of its objects, and what it allows: Pods, namespaces, names, quantities.

pub(crate) mod mapping;
pub mod names;
pub(crate) mod namespace;
pub(crate) mod owner;
pub mod pod;
pub mod quantity;
