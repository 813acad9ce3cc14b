//! Patterns: the recipes. What their YAML may say is here; how it is checked and compiled is in `pattern::load`.
//!
//! ```text
//!  patterns/*.yaml ┐
//!  --patterns DIR  ├─▶ PatternSpec ─▶ load: names, schema, templates, trial rendering, Pod rules ─▶ Pattern
//!  custom resource ┘    (as written)                                                               (ready to render)
//! ```
//!
//! A [`Pattern`] that exists has passed everything that can be known before a Pod is there.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod advice;
mod bounds;
mod fields;
mod file;
mod filters;
mod load;
mod misfit;
mod rules;
mod schema;
mod template;
mod trial;
mod varying;
pub(crate) mod wild;

pub use advice::advice;
pub use load::Pattern;
pub use schema::Schema;
pub(crate) use template::Scope;

/// What a helper is to the app.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Augments the app.
    Sidecar,
    /// Stands between the app and the world.
    Ambassador,
    /// Makes the app look the way the platform expects.
    Adapter,
}

impl Role {
    /// Every role, in the order of the docs.
    pub const ALL: [Self; 3] = [Self::Sidecar, Self::Ambassador, Self::Adapter];

    /// As annotations and patterns write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Ambassador => "ambassador",
            Self::Adapter => "adapter",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The recipe. String leaves of the parts that go into the Pod are templates: `"{{ params.port }}"`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatternSpec {
    /// What the helper is to the app: `sidecar`, `ambassador` or `adapter`.
    pub role: Role,
    /// One sentence for `outrigger catalog list`.
    #[serde(default)]
    pub summary: String,
    /// JSON Schema of the parameters; its root is an object, closed unless it says otherwise. Defaults are applied from it.
    #[serde(default)]
    #[schemars(schema_with = "wild::object")]
    pub params: Value,
    /// Ports nobody needs to choose: name to `auto`; given out from 17000 up.
    #[serde(default)]
    #[allow(clippy::zero_sized_map_values)]
    // there is one way to ask so far; the file says `auto`
    pub ports: BTreeMap<String, GivenPort>,
    /// Long-running helpers; native sidecars unless `native` is false.
    #[serde(default)]
    #[schemars(schema_with = "wild::objects")]
    pub containers: Vec<Value>,
    /// Run-to-completion helpers.
    #[serde(default)]
    #[schemars(schema_with = "wild::objects")]
    pub init_containers: Vec<Value>,
    /// Volumes of the helpers, under names of their own.
    #[serde(default)]
    #[schemars(schema_with = "wild::objects")]
    pub volumes: Vec<Value>,
    /// Added to the Pod's.
    #[serde(default)]
    #[schemars(schema_with = "wild::objects")]
    pub image_pull_secrets: Vec<Value>,
    /// Annotations and labels added where absent.
    #[serde(default)]
    pub pod_metadata: PodMetadata,
    /// What the targeted app containers get.
    #[serde(default)]
    pub app: AppParts,
    /// Config files: name to text template.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Before the user's own init containers instead of after them.
    #[serde(default)]
    pub first: bool,
    /// Order among instances: lower first, then by name; the lowest of several interposers is outermost.
    #[serde(default = "default_rank")]
    pub rank: i32,
    /// Take over an app's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpose: Option<Interpose>,
    /// Let the injected containers see the app's service account token.
    #[serde(default)]
    pub service_account_token: bool,
    /// What the helpers do at the API server, as rules of a Role. Injection grants nothing: `outrigger catalog show NAME -o rbac`
    /// prints the Role and the RoleBinding that the Pod's namespace needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<Permission>,
    /// `false`: `containers` become regular containers instead of native sidecars.
    #[serde(default = "yes")]
    pub native: bool,
    /// Container fields that `override` may set.
    #[serde(default = "default_override", rename = "override")]
    pub overridable: Vec<String>,
    /// The operating system its images are for; Pods of the other one are skipped.
    #[serde(default)]
    pub os: Os,
}

/// A rule of a Role (`PolicyRule` in `rbac/v1/types.go`), without what a namespace cannot grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Permission {
    /// API groups; the empty one is the core's.
    pub api_groups: Vec<String>,
    /// Resources, such as `leases`.
    pub resources: Vec<String>,
    /// Names of objects; all of them where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// What is done to them, such as `get`.
    pub verbs: Vec<String>,
}

/// The only way to ask for a given port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", expecting = "`auto`")]
pub enum GivenPort {
    Auto,
}

/// Annotations and labels for the Pod.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodMetadata {
    /// Annotations; a template that renders to null is left out.
    #[serde(default)]
    #[schemars(schema_with = "wild::object")]
    pub annotations: BTreeMap<String, Value>,
    /// Labels, likewise.
    #[serde(default)]
    #[schemars(schema_with = "wild::object")]
    pub labels: BTreeMap<String, Value>,
}

/// Environment and mounts for the app containers that `into` names.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppParts {
    /// Environment variables.
    #[serde(default)]
    #[schemars(schema_with = "wild::objects")]
    pub env: Vec<Value>,
    /// Volume mounts, of the pattern's own volumes or of the Pod's.
    #[serde(default)]
    #[schemars(schema_with = "wild::objects")]
    pub volume_mounts: Vec<Value>,
}

/// Which port of the app to take over; the first port of the pattern's first container takes its place.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interpose {
    /// A port's name or number, or a template that gives one.
    #[schemars(schema_with = "wild::any")]
    pub port: Value,
}

/// An operating system, as in `spec.os.name`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Os {
    #[default]
    Linux,
    Windows,
}

fn default_rank() -> i32 {
    100
}

fn yes() -> bool {
    true
}

fn default_override() -> Vec<String> {
    ["image", "imagePullPolicy", "resources", "env"]
        .map(str::to_owned)
        .to_vec()
}

/// Something wrong in a pattern or binding: where, and one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field from the object's root, such as `spec.containers[0].image`.
    pub path: String,
    /// Lower case, no full stop.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }

    /// The fault as seen from the object around it.
    pub(crate) fn under(mut self, parent: &str) -> Self {
        self.path = match (parent.is_empty(), self.path.is_empty()) {
            (true, _) => self.path,
            (_, true) => parent.to_owned(),
            _ if self.path.starts_with('[') => format!("{parent}{}", self.path),
            _ => format!("{parent}.{}", self.path),
        };
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "`{}`: {}", self.path, self.message)
        }
    }
}

/// Reads a typed object out of `value`; a fault names the field and, for a misspelt one, its neighbour.
pub(crate) fn typed<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        Fault::new(path, spelling(&error.into_inner().to_string()))
    })
}

/// serde lists every field it knows; people want the nearest one.
fn spelling(message: &str) -> String {
    let Some(rest) = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("unknown variant `"))
    else {
        // serde's words for YAML's.
        return message
            .replace("invalid type: sequence", "a list")
            .replace("invalid type: map", "a mapping")
            .replace("invalid type: ", "");
    };
    let mut quoted = rest.split('`').step_by(2);
    let word = quoted.next().unwrap_or_default();
    match crate::text::did_you_mean(word, quoted) {
        Some(near) => format!(
            "{}: did you mean `{near}`?",
            message.split(", expected").next().unwrap_or(message)
        ),
        None => message.to_owned(),
    }
}

pub(crate) use fields::{
    container as check_container, env as check_env, mount as check_mount, secret as check_secret,
    volume as check_volume,
};
