//! Layers: whose parameters count for an instance, lowest first.

use serde_json::{Map, Value};

use super::Context;
use super::decision::{Layer, Source};
use crate::binding::Binding;
use crate::pattern::Pattern;
use crate::text::{excerpt, plain};

/// Layers as they are put on top of each other.
pub(super) struct Stack<'a> {
    pub(super) pattern: &'a Pattern,
    pub(super) context: &'a Context<'a>,
    pub(super) layers: Vec<Layer>,
    pub(super) warnings: &'a mut Vec<String>,
}

impl Stack<'_> {
    /// Adds what `source`, which stands in `namespace`, says, less what one of `limits` does not let it set.
    pub(super) fn push(
        &mut self,
        source: Source,
        namespace: &str,
        params: &Map<String, Value>,
        limits: &[&Binding],
    ) {
        // A layer written for a pattern of the same name from another place says nothing about this one.
        let meant = self.context.catalog.find(&self.pattern.name, namespace);
        if meant.is_none_or(|meant| meant.place != self.pattern.place) {
            if !params.is_empty() {
                self.warnings.push(format!(
                    "{source} means another pattern `{}`: its parameters are left out",
                    self.pattern.name
                ));
            }
            return;
        }
        let mut params = params.clone();
        for limit in limits {
            params.retain(|name, value| {
                let may = limit.spec.pod_may_set.contains(name);
                if !may {
                    let value = excerpt(&plain(value), 40);
                    self.warnings.push(format!(
                        "{source} sets `{name}: {value}`, which {} does not let it: left out",
                        Source::binding(limit)
                    ));
                }
                may
            });
        }
        self.layers.push(Layer { source, params });
    }
}
