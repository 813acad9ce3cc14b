//! Bindings: rules that give a pattern to Pods that did not ask.

pub mod condition;
pub mod selector;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::binding::condition::Condition;
use crate::binding::selector::Selector;
use crate::kubernetes::names::Instance;
use crate::pattern::{Fault, typed, wild};

/// Which pattern is given to which Pods, and how firmly.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BindingSpec {
    /// The pattern's name.
    pub pattern: String,
    /// Parameters, over the pattern's defaults.
    #[serde(default)]
    #[schemars(schema_with = "wild::object")]
    pub params: Map<String, Value>,
    /// Which Pods.
    #[serde(default, rename = "match")]
    pub target: Target,
    /// What happens to Pods that do not want it.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Parameters (and `into`, `override`) that namespace and Pod may still set under `Required`.
    #[serde(default)]
    pub pod_may_set: Vec<String>,
    /// Patch, or only report.
    #[serde(default)]
    pub mode: Mode,
}

/// Which Pods a binding is for; what is absent matches all.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// By the namespace's labels; in Outrigger's own namespace only.
    #[serde(default)]
    pub namespace_selector: Option<Selector>,
    /// By the Pod's labels.
    #[serde(default)]
    pub pod_selector: Option<Selector>,
    /// CEL conditions that must all hold.
    #[serde(default)]
    pub match_conditions: Vec<MatchCondition>,
}

/// A condition in CEL over `object`, the Pod, and `namespaceObject`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchCondition {
    /// What reports call it.
    pub name: String,
    /// A CEL expression that gives a bool.
    pub expression: String,
}

/// How binding a binding is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Enforcement {
    /// An offer: namespace and Pod may decline.
    #[default]
    Default,
    /// Nobody may decline.
    Required,
}

/// Whether a binding acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    #[default]
    Enforce,
    /// Decide, count, warn, report; patch nothing.
    Audit,
}

/// A binding that is ready to be held against Pods.
#[derive(Debug)]
pub struct Binding {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    pub spec: BindingSpec,
    pub(crate) instance: Instance,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: BindingSpec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

impl Binding {
    /// Checks and compiles a `PatternBinding` object of `namespace`; `home` is Outrigger's own.
    pub fn load(object: &Value, namespace: &str, home: &str) -> Result<Self, Vec<Fault>> {
        let Object {
            metadata: Metadata { name },
            spec,
        } = typed(object).map_err(|fault| vec![fault])?;
        let mut faults = Vec::new();
        let instance = match Instance::parse(&spec.pattern) {
            Ok(instance) if instance.suffix.is_none() => instance,
            Ok(instance) => {
                faults.push(Fault::new(
                    "spec.pattern",
                    format!("`{instance}`: a binding gives the unsuffixed instance only"),
                ));
                instance
            }
            Err(sentence) => {
                faults.push(Fault::new("spec.pattern", sentence));
                Instance::of("")
            }
        };
        let Target {
            namespace_selector,
            pod_selector,
            match_conditions,
        } = &spec.target;
        if namespace_selector.is_some() && namespace != home {
            faults.push(Fault::new("spec.match.namespaceSelector", format!("only bindings of `{home}` select namespaces; this one is for `{namespace}` alone")));
        }
        for (field, selector) in [
            ("namespaceSelector", namespace_selector),
            ("podSelector", pod_selector),
        ] {
            let path = format!("spec.match.{field}");
            faults.extend(
                selector
                    .iter()
                    .flat_map(Selector::faults)
                    .map(|fault| fault.under(&path)),
            );
        }
        let mut conditions = Vec::new();
        for (index, MatchCondition { name, expression }) in match_conditions.iter().enumerate() {
            match Condition::compile(name, expression) {
                Ok(condition) => conditions.push(condition),
                Err(fault) => {
                    faults.push(fault.under(&format!("spec.match.matchConditions[{index}]")));
                }
            }
        }
        if spec.enforcement == Enforcement::Default && !spec.pod_may_set.is_empty() {
            faults.push(Fault::new("spec.podMaySet", "means something under `enforcement: Required` only: a Default binding's parameters may all be set"));
        }
        if faults.is_empty() {
            Ok(Self {
                name,
                namespace: namespace.to_owned(),
                spec,
                instance,
                conditions,
            })
        } else {
            Err(faults)
        }
    }

    /// True for a binding that nobody may decline.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.spec.enforcement == Enforcement::Required
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(spec: Value) -> Vec<String> {
        let object = json!({"metadata": {"name": "b"}, "spec": spec});
        Binding::load(&object, "shop", "outrigger-system")
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(
            faults(json!({"pattern": "https", "match": {"namespaceSelector": {}}})),
            [
                "`spec.match.namespaceSelector`: only bindings of `outrigger-system` select namespaces; this one is for `shop` alone"
            ]
        );
        assert_eq!(
            faults(json!({"pattern": "https.two"})),
            ["`spec.pattern`: `https.two`: a binding gives the unsuffixed instance only"]
        );
        assert_eq!(
            faults(json!({"pattern": "https", "enforcment": "Required"})),
            ["`spec.enforcment`: unknown field `enforcment`: did you mean `enforcement`?"]
        );
        assert_eq!(
            faults(json!({"pattern": "https", "podMaySet": ["port"]})),
            [
                "`spec.podMaySet`: means something under `enforcement: Required` only: a Default binding's parameters may all be set"
            ]
        );
        assert_eq!(
            faults(
                json!({"pattern": "https", "match": {"matchConditions": [{"name": "x", "expression": "authorizer == 1"}]}})
            ),
            [
                "`spec.match.matchConditions[0].expression`: `authorizer` is not known here, expected `object` or `namespaceObject`"
            ]
        );
    }
}
