//! The custom resources' definitions (`apiextensions.k8s.io/v1`), made of the types that the server reads.
//!
//! The API server checks what it can with a schema and CEL; everything else (templates, a trial rendering, Pod rules) is for the server,
//! which says so in the object's `Ready` condition.

use kube_core::schema::StructuralSchemaRewriter;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::binding::BindingSpec;
use crate::keys;
use crate::kubernetes::names::MAX_PATTERN;
use crate::pattern::PatternSpec;

/// Both definitions, in the order they are installed.
#[must_use]
pub fn definitions() -> [Value; 2] {
    let pattern_name = format!(
        "self.metadata.name.size() <= {MAX_PATTERN} && !self.metadata.name.contains('--') && !self.metadata.name.contains('.')"
    );
    let pattern = Definition {
        kind: keys::PATTERN,
        short: &["pat", "pats"],
        description: "A pattern is a recipe for the helper containers of a Pod: Pods name it in an annotation, PatternBindings give it to Pods that did not ask. In Outrigger's own namespace it is for everybody, elsewhere for its namespace.",
        spec: schema::<PatternSpec>(),
        columns: &[
            column("Role", ".spec.role", "What the helper is to the app"),
            column("Summary", ".spec.summary", "What it does"),
        ],
        rules: json!([{
            "rule": pattern_name,
            "message": format!("a pattern's name has at most {MAX_PATTERN} characters, no dots and no `--`"),
        }]),
    };
    let binding = Definition {
        kind: keys::BINDING,
        short: &["pb", "pbs"],
        description: "A binding gives a pattern to Pods that did not ask for it: in Outrigger's own namespace to Pods of the whole cluster, elsewhere to Pods of its namespace.",
        spec: binding_spec(),
        columns: &[
            column("Pattern", ".spec.pattern", "The pattern that it gives"),
            column(
                "Enforcement",
                ".spec.enforcement",
                "Whether Pods may decline",
            ),
            column("Mode", ".spec.mode", "Whether it acts"),
        ],
        rules: json!([]),
    };
    [pattern.object(), binding.object()]
}

/// A binding's spec, with what a schema cannot say.
fn binding_spec() -> Value {
    let mut spec = schema::<BindingSpec>();
    spec["x-kubernetes-validations"] = json!([
        {
            "rule": format!("self.pattern.size() <= {MAX_PATTERN} && !self.pattern.contains('.')"),
            "message": "a binding gives the unsuffixed instance of a pattern: its name alone",
            "fieldPath": ".pattern",
        },
        {
            "rule": "!has(self.podMaySet) || size(self.podMaySet) == 0 || has(self.enforcement) && self.enforcement == 'Required'",
            "message": "podMaySet means something under `enforcement: Required` only: a Default binding's parameters may all be set",
            "fieldPath": ".podMaySet",
        },
    ]);
    // CEL's cost is bounded by what a list can hold at most.
    spec["properties"]["podMaySet"]["maxItems"] = json!(64);
    spec["properties"]["match"]["properties"]["matchConditions"]["maxItems"] = json!(64);
    spec["properties"]["match"]["properties"]["matchConditions"]["x-kubernetes-list-type"] =
        json!("map");
    spec["properties"]["match"]["properties"]["matchConditions"]["x-kubernetes-list-map-keys"] =
        json!(["name"]);
    spec
}

struct Definition<'a> {
    kind: &'a str,
    short: &'a [&'a str],
    description: &'a str,
    spec: Value,
    columns: &'a [Value],
    rules: Value,
}

impl Definition<'_> {
    fn object(self) -> Value {
        let Self {
            kind,
            short,
            description,
            spec,
            columns,
            rules,
        } = self;
        let singular = kind.to_lowercase();
        let plural = format!("{singular}s");
        let mut columns = columns.to_vec();
        columns.extend([
            column(
                "Ready",
                ".status.conditions[?(@.type=='Ready')].status",
                "Whether it is in use as written",
            ),
            column(
                "Message",
                ".status.conditions[?(@.type=='Ready')].message",
                "Why, or why not",
            ),
            json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}),
        ]);
        // Beside `-o wide` only: sentences are long.
        columns
            .iter_mut()
            .filter(|column| column["name"] == "Message" || column["name"] == "Summary")
            .for_each(|column| column["priority"] = json!(1));
        let mut schema = json!({
            "description": description,
            "type": "object",
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string", "description": "The version of this object's schema."},
                "kind": {"type": "string", "description": "The kind of this object."},
                "metadata": {"type": "object"},
                "spec": spec,
                "status": status(),
            },
        });
        if rules.as_array().is_some_and(|rules| !rules.is_empty()) {
            schema["x-kubernetes-validations"] = rules;
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{}", keys::GROUP)},
            "spec": {
                "group": keys::GROUP,
                "names": {
                    "kind": kind,
                    "listKind": format!("{kind}List"),
                    "plural": plural,
                    "singular": singular,
                    "shortNames": short,
                    "categories": ["outrigger"],
                },
                "scope": "Namespaced",
                "versions": [{
                    "name": keys::VERSION,
                    "served": true,
                    "storage": true,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        })
    }
}

fn column(name: &str, path: &str, description: &str) -> Value {
    json!({"name": name, "type": "string", "jsonPath": path, "description": description})
}

fn schema<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(StructuralSchemaRewriter)
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    tidy(&mut schema);
    schema
}

/// Takes out what the API server does not know or does not need.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            // `additionalProperties: false` cannot stand beside `properties` in a structural schema; pruning does its work.
            if map.contains_key("properties") {
                map.shift_remove("additionalProperties");
                map.shift_remove("title");
            }
            // Only a scalar default tells who reads the object something; empty lists only fill it.
            let is_dull = |default: &Value| {
                !(default.is_boolean()
                    || default.is_number()
                    || default.as_str().is_some_and(|text| !text.is_empty()))
            };
            if map.get("type").is_some_and(Value::is_string)
                && map.get("default").is_some_and(is_dull)
            {
                map.shift_remove("default");
            }
            if map.get("type").is_some_and(|kind| kind == "integer") {
                map.shift_remove("minimum");
                map.shift_remove("maximum");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// `status`, as `cluster::conditions` writes it (`metav1.Condition`).
fn status() -> Value {
    json!({
        "description": "What the server made of the object.",
        "type": "object",
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64", "description": "The generation that this status is about."},
            "conditions": {
                "description": "`Ready`: whether the object is in use as it is written.",
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                    "properties": {
                        "type": {"type": "string", "description": "`Ready`."},
                        "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
                        "reason": {"type": "string", "description": "One word for machines."},
                        "message": {"type": "string", "description": "A sentence for people: what `outrigger lint` would say."},
                        "observedGeneration": {"type": "integer", "format": "int64", "description": "The generation that this condition is about."},
                        "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When `status` last changed."},
                    },
                },
            },
        },
    })
}
