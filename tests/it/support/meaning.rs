//! What two values have in common that mean the same to Kubernetes. The fuzz targets use it, too.

use serde_json::Value;

/// Parents that mean the same whether they are empty or absent.
pub(crate) const PARENTS: [&str; 8] = [
    "metadata",
    "annotations",
    "labels",
    "initContainers",
    "volumes",
    "imagePullSecrets",
    "env",
    "volumeMounts",
];

/// `value` without what means nothing: nulls, and empty lists and mappings that Kubernetes reads as absent.
pub(crate) fn meaning(value: &Value) -> Value {
    let says_nothing = |key: &str, value: &Value| match value {
        Value::Null => true,
        Value::Object(entries) => entries.is_empty() && PARENTS.contains(&key),
        Value::Array(items) => items.is_empty() && PARENTS.contains(&key),
        _ => false,
    };
    match value {
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key, meaning(value)))
            .filter(|(key, value)| !says_nothing(key, value))
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => items.iter().map(meaning).collect(),
        scalar => scalar.clone(),
    }
}
