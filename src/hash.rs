//! Short hashes for revisions and drift: SHA-256, the first 8 bytes in hexadecimal. They tell change, not authenticity.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The hash of a text: 16 hexadecimal digits.
#[must_use]
pub(crate) fn of_text(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let first = digest
        .iter()
        .take(8)
        .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    format!("{first:016x}")
}

/// The hash of a value, whatever the order of its keys.
#[must_use]
pub(crate) fn of_value(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    of_text(&text)
}

/// The hash of a mapping given by its entries.
#[must_use]
pub(crate) fn of_entries<'a>(entries: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let mut text = String::new();
    canonical_map(entries.collect(), &mut text);
    of_text(&text)
}

/// A text that is the same for equal values and another one for others: JSON with sorted keys, in effect.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => canonical_map(
            map.iter()
                .map(|(key, value)| (key.as_str(), value))
                .collect(),
            text,
        ),
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

fn canonical_map(mut entries: Vec<(&str, &Value)>, text: &mut String) {
    entries.sort_unstable_by_key(|(key, _)| *key);
    text.push('{');
    for (key, value) in entries {
        text.push_str(&format!("{key:?}:"));
        canonical(value, text);
        text.push(',');
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_does_not_matter() {
        assert_eq!(
            of_value(&json!({"a": 1, "b": {"c": 2, "d": 3}})),
            of_value(&json!({"b": {"d": 3, "c": 2}, "a": 1}))
        );
        assert_eq!(of_text("").len(), 16);
    }
}
