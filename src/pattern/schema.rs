//! Parameters: a pattern's JSON Schema, its defaults, and sentences for what does not fit.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value, json};

use super::Fault;
use super::misfit::{dotted, sentence};
use crate::text::{plain, suggestion};

/// A compiled parameter schema. The root is an object; an object that names its properties is closed unless it says otherwise.
#[derive(Debug)]
pub struct Schema {
    source: Value,
    validator: Validator,
}

/// What a parameter schema may say; the same words as a CRD's (`apiextensions/v1` `JSONSchemaProps`), less what makes no sense here.
const KEYWORDS: &[&str] = &[
    "additionalProperties",
    "allOf",
    "anyOf",
    "default",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "uniqueItems",
    "const",
    "propertyNames",
];

impl Schema {
    /// Compiles `spec.params`; null is a pattern without parameters.
    pub(super) fn compile(source: &Value) -> Result<Self, Vec<Fault>> {
        let mut source = if source.is_null() {
            json!({"type": "object"})
        } else {
            source.clone()
        };
        let mut faults = Vec::new();
        if source.get("type") != Some(&json!("object")) {
            faults.push(Fault::new(
                "type",
                "the root of `params` is an object: write `type: object`",
            ));
        }
        close(&mut source, "", &mut faults);
        if let Some(Value::Object(properties)) = source.get("properties") {
            for reserved in ["into", "override"]
                .iter()
                .filter(|name| properties.contains_key(**name))
            {
                faults.push(Fault::new(
                    format!("properties.{reserved}"),
                    format!("`{reserved}` belongs to every pattern: choose another name"),
                ));
            }
        } else if let Value::Object(root) = &mut source {
            root.entry("additionalProperties")
                .or_insert(Value::Bool(false));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let validator = jsonschema::draft202012::options()
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
            .build(&source)
            .map_err(|error| {
                vec![Fault::new(
                    dotted(error.instance_path().as_str()),
                    format!("not a JSON Schema: {error}"),
                )]
            })?;
        let schema = Self { source, validator };
        schema.defaults_fit()?;
        Ok(schema)
    }

    /// The schema as compiled, objects closed.
    #[must_use]
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// The parameters' names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.properties()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
    }

    /// The parameters that have to be given.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        required(&self.source)
    }

    /// The parameters and their schemas.
    #[must_use]
    pub fn properties(&self) -> Option<&Map<String, Value>> {
        self.source.get("properties")?.as_object()
    }

    /// True for a parameter that is always there and always of one scalar type; an integer only if it fits every field.
    pub(super) fn is_scalar(&self, name: &str) -> bool {
        let Some(schema) = self
            .properties()
            .and_then(|properties| properties.get(name))
        else {
            return false;
        };
        let there = schema.get("default").is_some() || self.required().any(|other| other == name);
        let fits = |keyword: &str| {
            schema
                .get(keyword)
                .and_then(Value::as_i64)
                .is_some_and(|bound| i32::try_from(bound).is_ok())
        };
        there
            && match schema.get("type").and_then(Value::as_str) {
                Some("string" | "boolean") => true,
                Some("integer") => fits("minimum") && fits("maximum"),
                _ => false,
            }
    }

    /// Fills in the schema's defaults wherever `params` is silent.
    pub fn complete(&self, params: &mut Value) {
        complete(&self.source, params);
    }

    /// One sentence for the first thing in `params` that does not fit, the most telling first.
    pub fn check(&self, params: &Value) -> Result<(), String> {
        if self.validator.is_valid(params) {
            return Ok(());
        }
        let mut errors: Vec<_> = self.validator.iter_errors(params).collect();
        errors.sort_by_key(|error| match error.kind() {
            ValidationErrorKind::AdditionalProperties { .. } => 0,
            ValidationErrorKind::Type { .. } => 1,
            _ => 2,
        });
        match errors.first() {
            Some(error) => Err(sentence(&self.source, error)),
            None => Ok(()),
        }
    }

    /// One sentence for the first of `params` that does not fit, taken by themselves: what else is required is filled in.
    pub fn check_some(&self, params: &Map<String, Value>) -> Result<(), String> {
        let mut whole = self.sample();
        let given = params.iter().filter(|(_, value)| !value.is_null());
        whole.extend(given.map(|(name, value)| (name.clone(), value.clone())));
        let mut whole = Value::Object(whole);
        self.complete(&mut whole);
        self.check(&whole)
    }

    /// Parameters for a trial rendering: defaults, else the first example, else the least value that the schema allows.
    pub(super) fn sample(&self) -> Map<String, Value> {
        let mut params = sample(&self.source);
        self.complete(&mut params);
        match params {
            Value::Object(params) => params,
            _ => Map::new(),
        }
    }

    /// A default that its own schema refuses would fail at every Pod; find it now.
    fn defaults_fit(&self) -> Result<(), Vec<Fault>> {
        let mut faults = Vec::new();
        for (name, schema) in self.properties().into_iter().flatten() {
            let Some(default) = schema.get("default") else {
                continue;
            };
            let mut default = default.clone();
            complete(schema, &mut default);
            let fits = jsonschema::draft202012::options()
                .offline()
                .build(schema)
                .is_ok_and(|validator| validator.is_valid(&default));
            if !fits {
                faults.push(Fault::new(
                    format!("properties.{name}.default"),
                    format!(
                        "`{}` does not satisfy the parameter's own schema",
                        plain(&default)
                    ),
                ));
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

/// Closes objects and finds misspelt keywords, all the way down.
fn close(schema: &mut Value, path: &str, faults: &mut Vec<Fault>) {
    let Value::Object(map) = schema else { return };
    for keyword in map
        .keys()
        .filter(|keyword| !KEYWORDS.contains(&keyword.as_str()))
    {
        let place = if path.is_empty() {
            keyword.clone()
        } else {
            format!("{path}.{keyword}")
        };
        faults.push(Fault::new(
            place,
            format!(
                "unknown schema keyword `{keyword}`{}",
                suggestion(keyword, KEYWORDS.iter().copied())
            ),
        ));
    }
    if map.contains_key("properties") && !map.contains_key("additionalProperties") {
        map.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        for (name, property) in properties {
            close(property, &below(&format!("properties.{name}")), faults);
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(name) {
            close(inner, &below(name), faults);
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in map
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate()
        {
            known_keywords(inner, &below(&format!("{name}[{index}]")), faults);
        }
    }
    for name in ["not", "propertyNames"] {
        if let Some(inner) = map.get(name) {
            known_keywords(inner, &below(name), faults);
        }
    }
}

/// Finds misspelt keywords in a part that is not closed, because it only judges what another part describes.
fn known_keywords(schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    close(&mut schema.clone(), path, faults);
}

fn complete(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                if let Some(inner) = map.get_mut(name) {
                    complete(property, inner);
                } else if let Some(default) = property.get("default") {
                    let mut default = default.clone();
                    complete(property, &mut default);
                    map.insert(name.clone(), default);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| complete(schema, item));
            }
        }
        _ => {}
    }
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

fn sample(schema: &Value) -> Value {
    if let Some(value) = schema
        .get("default")
        .or_else(|| schema.get("examples")?.get(0))
        .or_else(|| schema.get("enum")?.get(0))
        .or_else(|| schema.get("const"))
    {
        return value.clone();
    }
    let least = |keyword: &str, otherwise: u64| {
        schema
            .get(keyword)
            .and_then(Value::as_u64)
            .unwrap_or(otherwise)
    };
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            let required: Vec<_> = required(schema).collect();
            let properties = schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten();
            properties
                .filter(|(name, _)| required.contains(&name.as_str()))
                .map(|(name, schema)| (name.clone(), sample(schema)))
                .collect()
        }
        Some("array") => {
            let item = schema.get("items").map(sample).unwrap_or_default();
            Value::Array(vec![
                item;
                usize::try_from(least("minItems", 0))
                    .unwrap_or_default()
                    .min(16)
            ])
        }
        Some("integer" | "number") => json!(least(
            "minimum",
            least("exclusiveMinimum", 0).saturating_add(1)
        )),
        Some("boolean") => json!(false),
        _ => json!(
            "x".repeat(
                usize::try_from(least("minLength", 1))
                    .unwrap_or(1)
                    .min(1 << 12)
            )
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema::compile(&json!({
            "type": "object",
            "required": ["secretName"],
            "properties": {
                "secretName": {"type": "string", "description": "Name of the Secret. It holds the key."},
                "port": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 8443},
                "mode": {"type": "string", "enum": ["fail", "remap"], "default": "fail"},
                "shards": {"type": "array", "minItems": 2, "items": {"type": "object", "properties": {"host": {"type": "string", "pattern": "^[a-z]+$"}, "weight": {"type": "integer", "default": 1}}}},
                "either": {"type": ["string", "integer"]}
            }
        }))
        .unwrap()
    }

    #[test]
    fn defaults_reach_into_lists() {
        let mut params = json!({"shards": [{"host": "a"}]});
        schema().complete(&mut params);
        assert_eq!(
            params,
            json!({"shards": [{"host": "a", "weight": 1}], "port": 8443, "mode": "fail"})
        );
    }

    #[test]
    fn every_misfit_is_one_sentence() {
        for (params, expected) in [
            (
                json!({}),
                "parameter `secretName` is missing: name of the Secret",
            ),
            (
                json!({"secretName": "a", "prot": 1}),
                "unknown parameter `prot`: did you mean `port`?",
            ),
            (
                json!({"zzz": 1}),
                "unknown parameter `zzz`, expected `secretName`, `port`, `mode`, `shards`, `either`, `into` or `override`",
            ),
            (
                json!({"secretName": 5}),
                "parameter `secretName` is the number `5`, expected a string: put it in quotes",
            ),
            (
                json!({"secretName": "a", "port": 70000}),
                "parameter `port` is `70000`, expected at most 65535",
            ),
            (
                json!({"secretName": "a", "port": "x"}),
                "parameter `port` is the string `x`, expected an integer",
            ),
            (
                json!({"secretName": "a", "mode": "x"}),
                "parameter `mode` is `x`, expected `fail` or `remap`",
            ),
            (
                json!({"secretName": "a", "shards": []}),
                "parameter `shards` is `[]`, expected at least 2 items",
            ),
            (
                json!({"secretName": "a", "shards": [{}, {"hots": "a"}]}),
                "unknown parameter `shards[1].hots`: did you mean `host`?",
            ),
            (
                json!({"secretName": "a", "shards": [{}, {"host": "A"}]}),
                "parameter `shards[1].host` is `A`, expected a match of `^[a-z]+$`",
            ),
            (
                json!({"secretName": "a", "either": true}),
                "parameter `either` is the boolean `true`, expected an integer or a string",
            ),
            (json!([1]), "the parameters are `[1]`, expected a mapping"),
        ] {
            assert_eq!(schema().check(&params), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_bad_schema_is_found_at_load() {
        for (schema, expected) in [
            (
                json!({"type": "string"}),
                "`type`: the root of `params` is an object: write `type: object`",
            ),
            (
                json!({"type": "object", "properties": {"a": {"tpye": "string"}}}),
                "`properties.a.tpye`: unknown schema keyword `tpye`: did you mean `type`?",
            ),
            (
                json!({"type": "object", "properties": {"into": {"type": "string"}}}),
                "`properties.into`: `into` belongs to every pattern: choose another name",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
                "`properties.a.default`: `x` does not satisfy the parameter's own schema",
            ),
        ] {
            let faults = Schema::compile(&schema).unwrap_err();
            assert_eq!(faults[0].to_string(), expected);
        }
    }
}
