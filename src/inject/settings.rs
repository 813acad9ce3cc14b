//! Settings: what an instance is given, merged from its layers, completed and validated by its pattern.

use serde_json::{Map, Value};

use super::decision::Layer;
use crate::pattern::Pattern;

/// The parameters that are the pattern's, and the two keys that are ours in every pattern.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) params: Map<String, Value>,
    pub(crate) into: Option<Value>,
    pub(crate) overrides: Option<Value>,
}

impl Settings {
    /// Merges the layers: mappings deep, lists replaced, null back to the default.
    pub(crate) fn of(layers: &[Layer]) -> Self {
        let (mut params, mut overrides) = (Map::new(), Map::new());
        for layer in layers {
            for (name, value) in &layer.params {
                // In `override` null takes a field of the container away; elsewhere it goes back to the default.
                let (base, nulls) = if name == "override" {
                    (&mut overrides, Nulls::Stay)
                } else {
                    (&mut params, Nulls::Reset)
                };
                merge_entry(base, name, value, nulls);
            }
        }
        let into = params.shift_remove("into");
        let overrides = overrides
            .shift_remove("override")
            .filter(|overrides| !overrides.is_null());
        Self {
            params,
            into,
            overrides,
        }
    }

    /// Fills in the pattern's defaults and validates.
    pub(crate) fn complete(self, pattern: &Pattern) -> Result<Self, String> {
        let Self {
            params,
            into,
            overrides,
        } = self;
        let mut params = Value::Object(params);
        pattern.schema.complete(&mut params);
        integers(&mut params);
        pattern.schema.check(&params)?;
        let Value::Object(params) = params else {
            return Err("the parameters are no mapping".to_owned());
        };
        Ok(Self {
            params,
            into,
            overrides,
        })
    }

    /// One hash for all that an instance was given.
    pub(crate) fn hash(&self) -> String {
        let Self {
            params,
            into,
            overrides,
        } = self;
        let ours = [("into", into), ("override", overrides)];
        let ours = ours
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        crate::hash::of_entries(
            params
                .iter()
                .map(|(name, value)| (name.as_str(), value))
                .chain(ours),
        )
    }
}

/// `8080.0` is the integer 8080 for JSON Schema, and has to print like one.
#[allow(clippy::cast_possible_truncation, clippy::float_cmp)] // only where nothing is lost
fn integers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|float| number.is_f64() && float.abs() < 9e15 && float.trunc() == *float);
            if let Some(float) = whole {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(integers),
        Value::Object(map) => map.values_mut().for_each(integers),
        _ => {}
    }
}

/// What null means where layers are merged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    /// The entry goes.
    Reset,
    /// The entry is null.
    Stay,
}

/// Puts one entry over `base`: mappings are merged, everything else replaces.
fn merge_entry(base: &mut Map<String, Value>, name: &str, value: &Value, nulls: Nulls) {
    match (base.get_mut(name), value) {
        (_, Value::Null) if nulls == Nulls::Reset => {
            base.shift_remove(name);
        }
        (Some(Value::Object(base)), Value::Object(over)) => {
            over.iter()
                .for_each(|(name, value)| merge_entry(base, name, value, nulls));
        }
        _ => {
            base.insert(name.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decision::Source;
    use super::*;
    use serde_json::json;

    #[test]
    fn layers_merge_deep_lists_replace_null_resets() {
        let layer = |params: Value| Layer {
            source: Source::Status,
            params: params.as_object().cloned().unwrap_or_default(),
        };
        let settings = Settings::of(&[
            layer(
                json!({"a": {"b": 1, "c": 2}, "l": [1, 2], "gone": 1, "into": "all", "override": {"resources": {}, "image": "y"}}),
            ),
            layer(
                json!({"a": {"b": 3}, "l": [3], "gone": null, "override": {"image": "x", "resources": null}}),
            ),
        ]);
        assert_eq!(
            Value::Object(settings.params),
            json!({"a": {"b": 3, "c": 2}, "l": [3]})
        );
        assert_eq!(settings.into, Some(json!("all")));
        assert_eq!(
            settings.overrides,
            Some(json!({"resources": null, "image": "x"}))
        );
    }
}
