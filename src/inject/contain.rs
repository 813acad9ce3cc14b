//! Whether a value is in another one, after whatever the API server and other webhooks may have added to it.
//!
//! Mappings: every field must be there, others may be. Lists of named things: every one must be there, in any order, others may
//! be. Other lists (`args`, `command`) must be equal. Quantities are compared as amounts. A field that Go leaves out when it is
//! empty may be gone (`omitempty`).

use serde_json::Value;

use crate::kubernetes::quantity::Quantity;

/// True if everything that `wanted` says holds in `actual`.
#[must_use]
pub(crate) fn contains(actual: &Value, wanted: &Value) -> bool {
    inside(actual, wanted, "")
}

fn inside(actual: &Value, wanted: &Value, field: &str) -> bool {
    match (actual, wanted) {
        (Value::Object(actual), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| match actual.get(key) {
                Some(there) => inside(
                    there,
                    value,
                    if matches!(field, "requests" | "limits") {
                        field
                    } else {
                        key
                    },
                ),
                None => is_empty(value, key),
            })
        }
        (Value::Array(actual), Value::Array(wanted)) => match key(field) {
            Some(key) => wanted.iter().all(|value| {
                let id = value.get(key);
                actual
                    .iter()
                    .any(|there| there.get(key) == id && inside(there, value, ""))
            }),
            None => {
                actual.len() == wanted.len()
                    && actual
                        .iter()
                        .zip(wanted)
                        .all(|(there, value)| inside(there, value, ""))
            }
        },
        (Value::String(there), Value::String(value))
            if matches!(field, "requests" | "limits" | "sizeLimit") =>
        {
            same_amount(there, value)
        }
        (there, Value::Null) => is_empty(there, field),
        _ => actual == wanted,
    }
}

/// The merge key of a list (`patchMergeKey` in `core/v1/types.go`).
fn key(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        _ => None,
    }
}

/// What Go's encoder leaves out (`omitempty`). A pointer is kept whatever it points to, so `allowPrivilegeEscalation: false` and
/// `runAsUser: 0` are never "empty".
fn is_empty(value: &Value, field: &str) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => {
            map.is_empty()
                && matches!(
                    field,
                    "limits" | "requests" | "resources" | "annotations" | "labels"
                )
        }
        Value::Bool(false) => matches!(field, "readOnly" | "stdin" | "stdinOnce" | "tty"),
        Value::Number(number) => {
            let omitted = [
                "initialDelaySeconds",
                "timeoutSeconds",
                "periodSeconds",
                "successThreshold",
                "failureThreshold",
                "hostPort",
            ];
            number.as_i64() == Some(0) && omitted.contains(&field)
        }
        Value::Bool(true) => false,
    }
}

/// True if the two say the same, but for what the API server fills in. For entries of `env` and `volumeMounts`.
#[must_use]
pub(crate) fn same(actual: &Value, wanted: &Value) -> bool {
    let mut bare = actual.clone();
    if let Some(Value::Object(reference)) = bare.pointer_mut("/valueFrom/fieldRef")
        && reference
            .get("apiVersion")
            .is_some_and(|version| version == "v1")
        && wanted.pointer("/valueFrom/fieldRef/apiVersion").is_none()
    {
        reference.shift_remove("apiVersion");
    }
    contains(actual, wanted) && contains(wanted, &bare)
}

fn same_amount(there: &str, value: &str) -> bool {
    match (there.parse::<Quantity>(), value.parse::<Quantity>()) {
        (Ok(there), Ok(value)) => there == value,
        _ => there == value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_api_server_adds_does_not_matter() {
        let wanted = json!({"name": "a", "resources": {"limits": {"cpu": "1000m"}}, "volumeMounts": [{"mountPath": "/a", "name": "v", "readOnly": false}], "args": ["x"], "env": [{"name": "E", "value": ""}]});
        let actual = json!({"name": "a", "terminationMessagePath": "/dev/x", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "volumeMounts": [{"mountPath": "/token", "name": "t"}, {"mountPath": "/a", "name": "v"}], "args": ["x"], "env": [{"name": "F", "value": "1"}, {"name": "E"}]});
        assert!(contains(&actual, &wanted));
    }

    #[test]
    fn what_was_changed_or_taken_out_does() {
        let wanted = json!({"image": "a", "args": ["x", "y"], "securityContext": {"allowPrivilegeEscalation": false}, "env": [{"name": "E", "value": "1"}]});
        for (field, value) in [
            ("image", json!("b")),
            ("args", json!(["x", "y", "z"])),
            ("args", json!(["y", "x"])),
            ("securityContext", json!({})),
            ("securityContext", json!({"allowPrivilegeEscalation": true})),
            ("env", json!([])),
            ("env", json!([{"name": "E", "value": "2"}])),
        ] {
            let mut actual = wanted.clone();
            actual[field] = value;
            assert!(!contains(&actual, &wanted), "{actual}");
        }
    }
}
