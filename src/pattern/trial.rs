//! The trial rendering: a pattern meets a plain Pod once before any user's Pod does.

use serde_json::Value;

use super::{Fault, Pattern};

/// One app container with one port: the least a pattern may count on. The port has no name, so a pattern may ask for any.
pub(super) const POD: &str = r#"{"metadata":{"name":"trial","labels":{"app":"trial"}},"spec":{"containers":[{"name":"app","image":"app:1","ports":[{"containerPort":8080}]}]}}"#;

/// Renders, merges and checks `pattern` with its defaults, and examples for what has none.
pub(super) fn run(pattern: &Pattern) -> Result<(), Fault> {
    let params = pattern.schema.sample();
    if let Err(sentence) = pattern.schema.check(&Value::Object(params.clone())) {
        return Err(Fault::new(
            "params",
            format!("no trial is possible: {sentence}; give the parameter `examples`"),
        ));
    }
    crate::inject::attempt(pattern, params, POD.as_bytes())
}
