//! Label selectors (`apimachinery/pkg/apis/meta/v1` `LabelSelector`): all requirements must hold; the empty selector matches all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::kubernetes::names::{label_value, qualified_name};
use crate::pattern::{Fault, wild};

/// A label selector; the empty one matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Each label must have this value.
    #[serde(default)]
    #[schemars(schema_with = "wild::strings")]
    pub match_labels: Map<String, Value>,
    /// Each expression must hold.
    #[serde(default)]
    pub match_expressions: Vec<Requirement>,
}

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How the label is held against the values.
    pub operator: Operator,
    /// For `In` and `NotIn`; empty for the others.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How a label is held against the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Whether the labels, looked up by `label`, satisfy the selector.
    pub fn matches<'a, T: AsRef<str>>(&self, label: impl Fn(&str) -> Option<T> + 'a) -> bool {
        let Self {
            match_labels,
            match_expressions,
        } = self;
        match_labels.iter().all(|(key, value)| {
            label(key).is_some_and(|label| Some(label.as_ref()) == value.as_str())
        }) && match_expressions
            .iter()
            .all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// What the API server would refuse (`ValidateLabelSelector`).
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (key, value) in &self.match_labels {
            if !qualified_name(key) || !value.as_str().is_some_and(label_value) {
                faults.push(Fault::new(
                    "matchLabels",
                    format!("`{key}: {}` is not a label", crate::text::plain(value)),
                ));
            }
        }
        for (
            index,
            Requirement {
                key,
                operator,
                values,
            },
        ) in self.match_expressions.iter().enumerate()
        {
            let path = format!("matchExpressions[{index}]");
            if !qualified_name(key) {
                faults.push(Fault::new(
                    format!("{path}.key"),
                    format!("`{key}` is not a label's key"),
                ));
            }
            for value in values.iter().filter(|value| !label_value(value)) {
                faults.push(Fault::new(
                    format!("{path}.values"),
                    format!("`{value}` is not a label's value"),
                ));
            }
            let takes_values = matches!(operator, Operator::In | Operator::NotIn);
            if takes_values == values.is_empty() {
                let rule = if takes_values {
                    "needs values"
                } else {
                    "takes no values"
                };
                faults.push(Fault::new(
                    format!("{path}.values"),
                    format!("`{operator:?}` {rule}"),
                ));
            }
        }
        faults
    }
}

impl Requirement {
    /// An absent label satisfies `NotIn`, as in Kubernetes.
    fn matches<T: AsRef<str>>(&self, label: Option<T>) -> bool {
        let among = || {
            label
                .as_ref()
                .is_some_and(|label| self.values.iter().any(|value| value == label.as_ref()))
        };
        match self.operator {
            Operator::In => among(),
            Operator::NotIn => !among(),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(selector: Value) -> bool {
        let selector: Selector = serde_json::from_value(selector).unwrap();
        assert_eq!(selector.faults(), []);
        selector.matches(|key| match key {
            "app" => Some("shop"),
            "tier" => Some("web"),
            _ => None,
        })
    }

    #[test]
    fn every_operator() {
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "shop", "tier": "web"}}), true),
            (json!({"matchLabels": {"app": "shop", "tier": "db"}}), false),
            (json!({"matchLabels": {"absent": ""}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "shop"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "absent", "operator": "In", "values": ["a"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["shop"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["shop"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "absent", "operator": "DoesNotExist"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
                false,
            ),
        ] {
            assert_eq!(matches(selector.clone()), expected, "{selector}");
        }
    }

    #[test]
    fn what_the_api_server_refuses_is_refused() {
        let faults = |selector: Value| {
            serde_json::from_value::<Selector>(selector)
                .unwrap()
                .faults()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            faults(json!({"matchLabels": {"a b": "c"}})),
            ["`matchLabels`: `a b: c` is not a label"]
        );
        assert_eq!(
            faults(json!({"matchExpressions": [{"key": "a", "operator": "In"}]})),
            ["`matchExpressions[0].values`: `In` needs values"]
        );
        assert_eq!(
            faults(
                json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]})
            ),
            ["`matchExpressions[0].values`: `Exists` takes no values"]
        );
    }
}
