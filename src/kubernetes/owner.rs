//! Who made a Pod.

use serde::Deserialize;
use serde_json::Value;

use super::pod::Metadata;

/// Who made a Pod (`metav1.OwnerReference`): the controller among its owners, or the first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

impl Metadata<'_> {
    /// The Pod's owner; `None` if it has none, or what it says is no owner.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        let owners: Vec<Value> = serde_json::from_str(self.owner_references?.get()).ok()?;
        let is_controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
        let owner = owners.iter().find(is_controller).or(owners.first())?;
        Owner::deserialize(owner).ok()
    }
}
