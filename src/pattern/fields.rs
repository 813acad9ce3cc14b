//! Finds what the API server would drop in silence: a patched Pod is decoded leniently, so a misspelt field of an injected container
//! would simply not be there (`apiserver/pkg/admission/plugin/webhook/mutating/dispatcher.go`).
//!
//! A part is read into the API's own type and written back; what did not come back is not a field.

use k8s_openapi::api::core::v1::{Container, EnvVar, LocalObjectReference, Volume, VolumeMount};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Fault, typed};

/// A container or init container.
pub(crate) fn container(value: &Value) -> Result<(), Fault> {
    check::<Container>(value)
}

/// A volume.
pub(crate) fn volume(value: &Value) -> Result<(), Fault> {
    check::<Volume>(value)
}

/// An entry of `env`.
pub(crate) fn env(value: &Value) -> Result<(), Fault> {
    check::<EnvVar>(value)
}

/// An entry of `volumeMounts`.
pub(crate) fn mount(value: &Value) -> Result<(), Fault> {
    check::<VolumeMount>(value)
}

/// An entry of `imagePullSecrets`.
pub(crate) fn secret(value: &Value) -> Result<(), Fault> {
    check::<LocalObjectReference>(value)
}

fn check<T: DeserializeOwned + Serialize>(value: &Value) -> Result<(), Fault> {
    let read: T = typed(value)?;
    let back = serde_json::to_value(&read).map_err(|error| Fault::new("", error.to_string()))?;
    lost(value, &back)
}

/// The first field of `value` that `back` does not have.
fn lost(value: &Value, back: &Value) -> Result<(), Fault> {
    match (value, back) {
        (Value::Object(before), Value::Object(after)) => {
            before
                .iter()
                .try_for_each(|(key, inner)| match after.get(key) {
                    Some(same) => lost(inner, same).map_err(|fault| fault.under(key)),
                    None if inner.is_null() => Ok(()),
                    None => Err(Fault::new(key, format!("unknown field `{key}`"))),
                })
        }
        (Value::Array(before), Value::Array(after)) => before
            .iter()
            .zip(after)
            .enumerate()
            .try_for_each(|(index, (inner, same))| {
                lost(inner, same).map_err(|fault| fault.under(&format!("[{index}]")))
            }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn misspelt_and_mistyped_fields_are_named() {
        let fault = |value: Value| container(&value).unwrap_err().to_string();
        assert_eq!(
            fault(json!({"name": "a", "imagePulPolicy": "Always"})),
            "`imagePulPolicy`: unknown field `imagePulPolicy`"
        );
        assert_eq!(
            fault(json!({"name": "a", "ports": [{"containerPort": 1, "nmae": "x"}]})),
            "`ports[0].nmae`: unknown field `nmae`"
        );
        assert_eq!(
            fault(json!({"name": "a", "args": [1]})),
            "`args[0]`: integer `1`, expected a string"
        );
        assert!(volume(&json!({"name": "a", "emptyDir": {"medium": "Memory"}})).is_ok());
        assert!(volume(&json!({"name": "a", "emptydir": {}})).is_err());
    }
}
