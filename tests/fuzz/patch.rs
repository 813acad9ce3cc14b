//! Any Pod in a world of built-in patterns and bindings: denied, or the laws hold.

use std::sync::LazyLock;

use outrigger::catalog::{Catalog, Namespace};
use outrigger::inject::Context;
use outrigger::keys;

use crate::laws::hold;
use crate::pods;

static CATALOG: LazyLock<Catalog> = LazyLock::new(pods::catalog);

/// A Pod as JSON, or edits of a plain one.
pub(crate) fn holds(input: &[u8]) {
    let pod = match input {
        [b'{', ..] => match serde_json::from_slice(input) {
            Ok(pod) => pod,
            Err(_) => return,
        },
        edits => pods::edited(edits),
    };
    for label in [keys::ENABLED, keys::DISABLED] {
        let namespace = Namespace {
            name: pods::NAMESPACE.to_owned(),
            labels: [(keys::INJECTION.to_owned(), label.to_owned())].into(),
            ..Namespace::default()
        };
        let context = Context {
            namespace: &namespace,
            catalog: &CATALOG,
        };
        hold(&pod, &context);
    }
}
