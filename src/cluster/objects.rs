//! What the cluster holds that concerns us, checked and compiled: every namespace, and each pattern and binding as it last was good.
//!
//! Watches write, the world is made of it, and [`super::conditions`] tells the objects what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use kube::api::{DynamicObject, ObjectMeta};
use serde_json::Value;
use tokio::sync::Notify;

use super::Standing;
use crate::catalog::Namespace;
use crate::keys;
use crate::pattern::Fault;
use crate::text::excerpt;
use crate::world::Item;

/// Characters of a condition's message, of 32 768 that the API allows.
const MAX_MESSAGE: usize = 4096;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Namespace,
    Pattern,
    Binding,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Namespace, Self::Pattern, Self::Binding];

    /// As the API writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pattern => keys::PATTERN,
            Self::Binding => keys::BINDING,
        }
    }
}

/// An object: kind, namespace (empty for namespaces), name.
type Key = (Kind, String, String);

/// One object: what it last said that made sense, and what is wrong with it now.
#[derive(Debug, Default)]
struct Kept {
    item: Option<Item>,
    fault: Option<String>,
    generation: i64,
    /// What we last said of it, and of which generation, so that two versions of us do not argue for ever.
    reported: Option<(i64, String)>,
}

/// What an object's `Ready` condition should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) is_ready: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// When the condition last changed its status, where it does not change it now.
    pub(crate) since: Option<String>,
}

/// Everything that is watched.
#[derive(Debug)]
pub(crate) struct Objects {
    home: String,
    cluster_wide: bool,
    inner: Mutex<Inner>,
    /// The world may have to be made anew: see [`Self::take_changed`].
    pub(crate) changed: Notify,
    /// There are reports to write.
    pub(crate) reported: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    kept: BTreeMap<Key, Kept>,
    /// Kinds that were listed whole at least once.
    listed: BTreeSet<Kind>,
    /// Why a kind cannot be listed or watched now.
    troubles: BTreeMap<Kind, String>,
    is_changed: bool,
    reports: Vec<Report>,
}

impl Objects {
    pub(crate) fn new(home: &str, cluster_wide: bool) -> Self {
        Self {
            home: home.to_owned(),
            cluster_wide,
            inner: Mutex::default(),
            changed: Notify::new(),
            reported: Notify::new(),
        }
    }

    /// A namespace as it is now; only its metadata is known.
    pub(crate) fn put_namespace(&self, metadata: ObjectMeta) {
        let ObjectMeta {
            name,
            labels,
            annotations,
            ..
        } = metadata;
        let name = name.unwrap_or_default();
        let namespace = Namespace {
            name: name.clone(),
            labels: labels.unwrap_or_default(),
            annotations: annotations.unwrap_or_default(),
        };
        let kept = Kept {
            item: Some(Item::Namespace(namespace.into())),
            ..Kept::default()
        };
        self.inner()
            .kept
            .insert((Kind::Namespace, String::new(), name), kept);
        self.change();
    }

    /// A pattern or binding as it is now. One that does not load leaves in use what it said before.
    pub(crate) fn put(&self, kind: Kind, object: &DynamicObject) {
        let key = key(kind, &object.metadata);
        let value = serde_json::to_value(object).unwrap_or_default();
        let loaded = match kind {
            Kind::Binding => Item::binding(&value, &key.1, &self.home),
            Kind::Namespace | Kind::Pattern => Item::pattern(&value, &key.1),
        };
        let mut inner = self.inner();
        let kept = inner.kept.entry(key.clone()).or_default();
        kept.generation = object.metadata.generation.unwrap_or_default();
        match loaded {
            Ok(item) => (kept.item, kept.fault) = (Some(item), None),
            Err(faults) => kept.fault = Some(message(&faults, kept.item.is_some())),
        }
        let report = self.report(kept, &key, object, &value);
        inner.reports.extend(report);
        drop(inner);
        self.change();
        self.reported.notify_one();
    }

    /// An object that is gone.
    pub(crate) fn remove(&self, kind: Kind, metadata: &ObjectMeta) {
        self.inner().kept.remove(&key(kind, metadata));
        self.change();
    }

    /// A list is whole: what it does not name is gone.
    pub(crate) fn listed(&self, kind: Kind, names: &BTreeSet<(String, String)>) {
        let mut inner = self.inner();
        inner.kept.retain(|(other, namespace, name), _| {
            *other != kind || names.contains(&(namespace.clone(), name.clone()))
        });
        inner.listed.insert(kind);
        inner.troubles.remove(&kind);
        drop(inner);
        self.change();
    }

    /// A kind cannot be watched now, or can be again; true if that is news.
    pub(crate) fn trouble(&self, kind: Kind, trouble: Option<String>) -> bool {
        let mut inner = self.inner();
        let before = match &trouble {
            Some(trouble) => inner.troubles.insert(kind, trouble.clone()),
            None => inner.troubles.remove(&kind),
        };
        let news = before != trouble;
        drop(inner);
        if news {
            self.change();
        }
        news
    }

    /// Whether anything is other than when this was last asked.
    pub(crate) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.inner().is_changed)
    }

    fn change(&self) {
        self.inner().is_changed = true;
        self.changed.notify_one();
    }

    /// What makes sense, or last did.
    pub(crate) fn items(&self) -> Vec<Item> {
        let inner = self.inner();
        inner
            .kept
            .values()
            .filter_map(|kept| kept.item.clone())
            .collect()
    }

    /// What is wrong: with which object, and what.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.inner()
            .kept
            .iter()
            .filter_map(|((kind, namespace, name), kept)| {
                let fault = kept.fault.as_deref()?;
                Some(format!("{} {namespace}/{name}: {fault}", kind.name()))
            })
            .collect()
    }

    /// How many objects of a kind are good, and how many are not.
    pub(crate) fn count(&self, kind: Kind) -> (usize, usize) {
        let inner = self.inner();
        let of_kind = || inner.kept.iter().filter(|((other, ..), _)| *other == kind);
        let broken = of_kind().filter(|(_, kept)| kept.fault.is_some()).count();
        (of_kind().count() - broken, broken)
    }

    /// The sum of the generations of a kind's objects: replicas with the same sum know the same.
    pub(crate) fn generation(&self, kind: Kind) -> i64 {
        let inner = self.inner();
        let of_kind = inner.kept.iter().filter(|((other, ..), _)| *other == kind);
        of_kind.map(|(_, kept)| kept.generation).sum()
    }

    /// Why requests must wait: what has never been listed. And what is amiss although they need not.
    pub(crate) fn standing(&self) -> Standing {
        let inner = self.inner();
        let trouble = |kind: Kind| {
            let trouble = inner.troubles.get(&kind)?;
            Some(format!("{}s cannot be watched: {trouble}", kind.name()))
        };
        let waiting: Vec<String> = Kind::ALL
            .into_iter()
            .filter(|kind| !inner.listed.contains(kind))
            .map(|kind| {
                trouble(kind).unwrap_or_else(|| format!("{}s are not listed yet", kind.name()))
            })
            .collect();
        let notes = Kind::ALL
            .into_iter()
            .filter(|kind| inner.listed.contains(kind))
            .filter_map(trouble)
            .collect();
        Standing {
            failure: (!waiting.is_empty()).then(|| waiting.join("; ")),
            notes,
        }
    }

    /// The reports that nobody has taken yet.
    pub(crate) fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.inner().reports)
    }

    /// Puts a report back that could not be written.
    pub(crate) fn give_back(&self, report: Report) {
        self.inner().reports.push(report);
    }

    /// What the object should be told, unless its status says so, or we have said so before.
    fn report(
        &self,
        kept: &mut Kept,
        (kind, namespace, name): &Key,
        object: &DynamicObject,
        value: &Value,
    ) -> Option<Report> {
        let generation = object.metadata.generation.unwrap_or_default();
        let idle = *kind == Kind::Binding && *namespace == self.home && !self.cluster_wide;
        let (is_ready, reason, message) = match &kept.fault {
            Some(fault) => (false, "Invalid", fault.clone()),
            None if idle => (
                false,
                "NotClusterWide",
                "bindings of this namespace do nothing: the server runs without `--cluster-wide`"
                    .to_owned(),
            ),
            None => (true, "Valid", format!("the {} is in use", noun(*kind))),
        };
        let said = (generation, message.clone());
        let condition = ready_condition(value);
        let text = |field: &str| condition.and_then(|condition| condition.get(field)?.as_str());
        let status = if is_ready { "True" } else { "False" };
        let same_status = text("status") == Some(status);
        let is_said = same_status
            && text("message") == Some(&message)
            && text("reason") == Some(reason)
            && condition.and_then(|condition| condition.get("observedGeneration")?.as_i64())
                == Some(generation);
        if is_said || kept.reported.as_ref() == Some(&said) {
            return None;
        }
        kept.reported = Some(said);
        Some(Report {
            kind: *kind,
            namespace: namespace.clone(),
            name: name.clone(),
            generation,
            is_ready,
            reason,
            message,
            since: same_status
                .then(|| text("lastTransitionTime").map(str::to_owned))
                .flatten(),
        })
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(kind: Kind, metadata: &ObjectMeta) -> Key {
    (
        kind,
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "namespace",
        Kind::Pattern => "pattern",
        Kind::Binding => "binding",
    }
}

fn ready_condition(object: &Value) -> Option<&Value> {
    object
        .get("status")?
        .get("conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pattern(generation: i64, image: &str, status: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "outrigger.dev/v1alpha1",
            "kind": "Pattern",
            "metadata": {"name": "p", "namespace": "shop", "generation": generation},
            "spec": {"role": "sidecar", "containers": [{"image": image}]},
            "status": status,
        }))
        .unwrap()
    }

    fn images(objects: &Objects) -> Vec<String> {
        let image = |item: Item| match item {
            Item::Pattern(pattern) => pattern.spec.containers[0]["image"].to_string(),
            other => format!("{other:?}"),
        };
        objects.items().into_iter().map(image).collect()
    }

    #[test]
    fn a_broken_object_leaves_the_last_good_one() {
        let objects = Objects::new("outrigger-system", true);
        objects.put(Kind::Pattern, &pattern(1, "a:1", &Value::Null));
        objects.put(Kind::Pattern, &pattern(2, "{{ nothing }}", &Value::Null));
        assert_eq!(images(&objects), ["\"a:1\""]);
        let reports = objects.take_reports();
        assert_eq!(
            reports
                .iter()
                .map(|report| (report.generation, report.is_ready, report.reason))
                .collect::<Vec<_>>(),
            [(1, true, "Valid"), (2, false, "Invalid")]
        );
        assert!(
            reports[1]
                .message
                .ends_with("; what it said before stays in use"),
            "{}",
            reports[1].message
        );
        assert_eq!(objects.count(Kind::Pattern), (0, 1));
        objects.listed(Kind::Pattern, &BTreeSet::new());
        assert_eq!(images(&objects), [] as [&str; 0]);
    }

    #[test]
    fn nothing_is_said_twice() {
        let objects = Objects::new("outrigger-system", true);
        objects.put(Kind::Pattern, &pattern(1, "a:1", &Value::Null));
        let report = objects.take_reports().remove(0);
        let said = |message: &str| {
            json!({"conditions": [{
                "type": "Ready", "status": "True", "reason": "Valid", "message": message, "observedGeneration": 1,
            }]})
        };
        objects.put(Kind::Pattern, &pattern(1, "a:1", &said(&report.message)));
        assert_eq!(objects.take_reports(), []);
        // Another version of us has other words: it may have the last one.
        objects.put(Kind::Pattern, &pattern(1, "a:1", &said("fine")));
        assert_eq!(objects.take_reports(), []);
        objects.put(Kind::Pattern, &pattern(2, "a:1", &said("fine")));
        assert_eq!(objects.take_reports().len(), 1);
    }

    #[test]
    fn requests_wait_for_every_list() {
        let objects = Objects::new("outrigger-system", true);
        objects.listed(Kind::Namespace, &BTreeSet::new());
        objects.trouble(Kind::Pattern, Some("not found".to_owned()));
        let Standing { failure, notes } = objects.standing();
        assert_eq!(
            failure.as_deref(),
            Some("Patterns cannot be watched: not found; PatternBindings are not listed yet")
        );
        assert_eq!(notes, [] as [&str; 0]);
        objects.listed(Kind::Pattern, &BTreeSet::new());
        objects.listed(Kind::Binding, &BTreeSet::new());
        objects.trouble(Kind::Binding, Some("gone".to_owned()));
        let note = "PatternBindings cannot be watched: gone".to_owned();
        assert_eq!(objects.standing(), Standing::noting([note]));
    }
}
