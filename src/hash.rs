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
pub(crate) fn of_value(mut value: Value) -> String {
    value.sort_all_objects();
    of_text(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_does_not_matter() {
        assert_eq!(
            of_value(json!({"a": 1, "b": {"c": 2, "d": 3}})),
            of_value(json!({"b": {"d": 3, "c": 2}, "a": 1}))
        );
        assert_eq!(of_text("").len(), 16);
    }
}
