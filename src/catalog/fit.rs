//! Whether a binding and the pattern that it means fit each other. A binding is loaded by itself, and may come before its pattern.

use super::Catalog;
use crate::binding::Binding;
use crate::pattern::Fault;
use crate::text::suggestion;

/// Why a binding that loads does nothing, or not what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// There is no such pattern where the binding looks for it.
    NoPattern(Fault),
    /// The pattern has other parameters.
    Parameters(Vec<Fault>),
}

impl Misfit {
    /// All that is wrong.
    pub(crate) fn faults(&self) -> &[Fault] {
        match self {
            Self::NoPattern(fault) => std::slice::from_ref(fault),
            Self::Parameters(faults) => faults,
        }
    }
}

impl Catalog {
    /// Holds a binding against its pattern, as far as its parameters go: others may add the rest.
    pub(crate) fn misfit(&self, binding: &Binding) -> Option<Misfit> {
        let spec = &binding.spec;
        let Some(pattern) = self.find(&spec.pattern, &binding.namespace) else {
            let known = self.patterns(&binding.namespace);
            let names = known.iter().map(|pattern| pattern.name.as_str());
            let near = suggestion(&spec.pattern, names);
            return Some(Misfit::NoPattern(Fault {
                path: "spec.pattern".to_owned(),
                message: format!("there is no pattern `{}` here{near}", spec.pattern),
            }));
        };
        let ours = ["into", "override"];
        let mut params = spec.params.clone();
        params.retain(|name, _| !ours.contains(&name.as_str()));
        let unfit = pattern
            .schema
            .check_some(&params)
            .err()
            .map(|message| Fault {
                path: "spec.params".to_owned(),
                message,
            });
        let unknown = |name: &&String| {
            !pattern
                .schema
                .names()
                .chain(ours)
                .any(|known| known == *name)
        };
        let unknown = spec.pod_may_set.iter().filter(unknown).map(|name| {
            let near = suggestion(name, pattern.schema.names());
            Fault {
                path: "spec.podMaySet".to_owned(),
                message: format!("`{name}` is not a parameter of `{}`{near}", pattern.name),
            }
        });
        let faults: Vec<Fault> = unfit.into_iter().chain(unknown).collect();
        (!faults.is_empty()).then_some(Misfit::Parameters(faults))
    }
}
