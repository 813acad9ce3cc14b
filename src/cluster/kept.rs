//! One object: what it last said that made sense, what is wrong with it now, and what it is told about that.

use std::panic::catch_unwind;

use kube::api::{DynamicObject, ObjectMeta};
use serde_json::Value;

use super::objects::{Key, Kind};
use super::report::{Finding, Report, Said};
use crate::binding::Binding;
use crate::catalog::fit::Misfit;
use crate::catalog::{Catalog, Namespace};
use crate::pattern::Fault;
use crate::text::excerpt;
use crate::world::Item;

/// Characters of a condition's message, of 32 768 that the API allows.
const MAX_MESSAGE: usize = 4096;

/// One object: what it last said that made sense, and what is wrong with it now.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) item: Option<Item>,
    /// Why it does not load.
    fault: Option<String>,
    /// Why it does nothing, or not what it says, although it loads.
    misfit: Option<(&'static str, String)>,
    /// An object of the same name with another is another object.
    uid: Option<String>,
    pub(super) generation: i64,
    /// What its status says.
    said: Said,
    /// What we last said of it, and of which generation, so that two versions of us do not argue for ever.
    reported: Option<(i64, String)>,
}

impl Kept {
    /// A namespace: nothing can be wrong with it.
    pub(super) fn namespace(namespace: Namespace) -> Self {
        Self {
            item: Some(Item::Namespace(namespace.into())),
            ..Self::default()
        }
    }

    /// Takes a pattern or binding as it is now. One that does not load leaves in use what it said before.
    pub(super) fn put(&mut self, kind: Kind, object: &DynamicObject, home: &str) {
        let ObjectMeta {
            uid,
            generation,
            namespace,
            ..
        } = &object.metadata;
        if self.uid != *uid {
            *self = Self {
                uid: uid.clone(),
                ..Self::default()
            };
        }
        let value = serde_json::to_value(object).unwrap_or_default();
        self.generation = generation.unwrap_or_default();
        self.said = Said::by(&value);
        match load(kind, &value, namespace.as_deref().unwrap_or_default(), home) {
            Ok(item) => (self.item, self.fault) = (Some(item), None),
            Err(faults) => self.fault = Some(message(&faults, self.item.is_some())),
        }
    }

    /// Holds it against the world: what it should be told, unless its status says so, or we have said so before.
    pub(super) fn judge(
        &mut self,
        (kind, namespace, name): &Key,
        catalog: &Catalog,
    ) -> Option<Report> {
        self.misfit = match &self.item {
            Some(Item::Binding(binding)) => misfit(binding, catalog),
            _ => None,
        };
        let finding = self.finding(*kind);
        let now = (self.generation, finding.message.clone());
        if self.said.says(&finding, self.generation) || self.reported.as_ref() == Some(&now) {
            return None;
        }
        self.reported = Some(now);
        Some(Report {
            kind: *kind,
            namespace: namespace.clone(),
            name: name.clone(),
            generation: self.generation,
            since: self.said.since(&finding),
            finding,
        })
    }

    /// What is wrong with it.
    pub(super) fn amiss(&self) -> Option<&str> {
        let misfit = self.misfit.as_ref().map(|(_, sentence)| sentence);
        self.fault.as_ref().or(misfit).map(String::as_str)
    }

    fn finding(&self, kind: Kind) -> Finding {
        let (is_ready, reason, message) = match (&self.fault, &self.misfit) {
            (Some(fault), _) => (false, "Invalid", fault.clone()),
            (None, Some((reason, sentence))) => (false, *reason, sentence.clone()),
            (None, None) => (true, "Valid", format!("the {} is in use", noun(kind))),
        };
        Finding {
            is_ready,
            reason,
            message,
        }
    }
}

/// Why a binding that loads is not to be relied on.
fn misfit(binding: &Binding, catalog: &Catalog) -> Option<(&'static str, String)> {
    if binding.namespace == catalog.home && !catalog.cluster_wide {
        let sentence =
            "bindings of this namespace do nothing: the server runs without `--cluster-wide`";
        return Some(("NotClusterWide", sentence.to_owned()));
    }
    let misfit = catalog.misfit(binding)?;
    let reason = match misfit {
        Misfit::NoPattern(_) => "PatternNotFound",
        Misfit::Parameters(_) => "InvalidParameters",
    };
    Some((reason, message(misfit.faults(), false)))
}

/// Whoever writes an object that we stumble over stops nobody else.
fn load(kind: Kind, value: &Value, namespace: &str, home: &str) -> Result<Item, Vec<Fault>> {
    let loaded = catch_unwind(|| match kind {
        Kind::Binding => Item::binding(value, namespace, home),
        Kind::Namespace | Kind::Pattern => Item::pattern(value, namespace),
    });
    loaded.unwrap_or_else(|_| {
        let message = "it cannot be loaded: a mistake of Outrigger's, which its log tells of";
        Err(vec![Fault {
            path: String::new(),
            message: message.to_owned(),
        }])
    })
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "namespace",
        Kind::Pattern => "pattern",
        Kind::Binding => "binding",
    }
}

/// All faults, and what is done about them.
fn message(faults: &[Fault], has_good: bool) -> String {
    let faults = faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    let rest = if has_good {
        "; what it said before stays in use"
    } else {
        ""
    };
    format!("{}{rest}", excerpt(&faults, MAX_MESSAGE))
}
