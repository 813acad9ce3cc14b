//! Any templates in a small pattern, with any parameters: faults, or a pattern that keeps the laws within its bounds.

use outrigger::catalog::{Catalog, Namespace, Place};
use outrigger::inject::Context;
use outrigger::keys;
use outrigger::pattern::Pattern;
use serde_json::{Value, json};

use crate::laws::hold;
use crate::pods;

/// Lines: a template in a string's place, one in an object's, the parameters; the rest is a file.
pub(crate) fn holds(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (argument, variable, params, file) = (line(), line(), line(), line());
    let object = pattern(argument, variable, file);
    let place = Place::Namespace(keys::HOME_NAMESPACE.to_owned());
    let pattern = match Pattern::load(&object, place) {
        Ok(pattern) => pattern,
        Err(faults) => {
            assert!(!faults.is_empty(), "refused for nothing");
            assert!(faults.iter().all(|fault| !fault.message.is_empty()));
            return;
        }
    };
    let mut catalog = Catalog::empty();
    catalog.add_pattern(pattern);
    let context = Context {
        namespace: &Namespace::default(),
        catalog: &catalog,
    };
    let mut pod = pods::plain();
    for key in ["sidecar.outrigger.dev/fuzz", "sidecar.outrigger.dev/fuzz.b"] {
        pod["metadata"]["annotations"] = json!({key: params});
        hold(&pod, &context).expect("a Pod");
    }
}

fn pattern(argument: &str, variable: &str, file: &str) -> Value {
    json!({
        "apiVersion": keys::API_VERSION,
        "kind": "Pattern",
        "metadata": {"name": "fuzz"},
        "spec": {
            "role": "sidecar",
            "params": {"type": "object", "additionalProperties": true, "properties": {
                "text": {"type": "string", "default": "a\"b"},
                "port": {"type": "integer", "default": 7101},
                "list": {"type": "array", "default": ["a", 1]},
                "map": {"type": "object", "default": {"a": {"b": null}}},
            }},
            "ports": {"admin": "auto"},
            "containers": [{
                "image": "fuzz:1",
                "args": ["--port={{ params.port }}", argument],
                "env": if variable.is_empty() { json!([]) } else { json!([variable]) },
            }],
            "files": {"fuzz.yaml": file},
        },
    })
}
