//! What the cluster holds that concerns us, checked and compiled: every namespace, and each pattern and binding as it last was good.
//!
//! Watches write, the world is made of it, and [`super::conditions`] tells the objects what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use kube::api::{DynamicObject, ObjectMeta};
use tokio::sync::Notify;

use super::Standing;
use super::kept::Kept;
use super::report::Report;
use crate::catalog::{Catalog, Namespace};
use crate::keys;
use crate::world::Item;

/// Objects that are named one by one where the server says what is amiss.
const MAX_BROKEN: usize = 10;

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
pub(super) type Key = (Kind, String, String);

/// Everything that is watched.
#[derive(Debug)]
pub(crate) struct Objects {
    home: String,
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
    /// What nobody has been told yet, the newest of each object.
    reports: BTreeMap<Key, Report>,
}

impl Objects {
    pub(crate) fn new(home: &str) -> Self {
        Self {
            home: home.to_owned(),
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
        let kept = Kept::namespace(namespace);
        self.inner()
            .kept
            .insert((Kind::Namespace, String::new(), name), kept);
        self.change();
    }

    /// A pattern or binding as it is now. One that does not load leaves in use what it said before.
    pub(crate) fn put(&self, kind: Kind, object: &DynamicObject) {
        let key = key(kind, &object.metadata);
        let mut inner = self.inner();
        let kept = inner.kept.entry(key).or_default();
        kept.put(kind, object, &self.home);
        drop(inner);
        self.change();
    }

    /// Holds the objects against the world that was made of all of them, and reports what they do not say themselves yet. Not while
    /// one is missing, or has come since: the next world is another.
    pub(crate) fn judge(&self, catalog: &Catalog) {
        let mut inner = self.inner();
        let Inner {
            kept,
            listed,
            reports,
            is_changed,
            ..
        } = &mut *inner;
        if *is_changed || listed.len() < Kind::ALL.len() {
            return;
        }
        let objects = kept
            .iter_mut()
            .filter(|((kind, ..), _)| *kind != Kind::Namespace);
        for (key, kept) in objects {
            if let Some(report) = kept.judge(key, catalog) {
                reports.insert(key.clone(), report);
            }
        }
        drop(inner);
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

    /// Which objects are not in use as they are written. Why is for their authors: it is in their conditions.
    pub(crate) fn broken(&self) -> Vec<String> {
        let inner = self.inner();
        let broken = inner.kept.iter().filter(|(_, kept)| kept.amiss().is_some());
        let mut names: Vec<String> = broken
            .map(|((kind, namespace, name), _)| {
                format!("{} {namespace}/{name} is not Ready", kind.name())
            })
            .collect();
        let rest = names.len().saturating_sub(MAX_BROKEN);
        names.truncate(MAX_BROKEN);
        if rest > 0 {
            names.push(format!("{rest} more objects are not Ready"));
        }
        names
    }

    /// What is wrong: with which object, and what.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.inner()
            .kept
            .iter()
            .filter_map(|((kind, namespace, name), kept)| {
                let fault = kept.amiss()?;
                Some(format!("{} {namespace}/{name}: {fault}", kind.name()))
            })
            .collect()
    }

    /// How many objects of a kind are good, and how many are not.
    pub(crate) fn count(&self, kind: Kind) -> (usize, usize) {
        let inner = self.inner();
        let of_kind = || inner.kept.iter().filter(|((other, ..), _)| *other == kind);
        let broken = of_kind().filter(|(_, kept)| kept.amiss().is_some()).count();
        (of_kind().count() - broken, broken)
    }

    /// The sum of the generations of a kind's objects: replicas with different sums know different things.
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
            .into_values()
            .collect()
    }

    /// Puts a report back that could not be written, unless there is a newer one.
    pub(crate) fn give_back(&self, report: Report) {
        let key = (report.kind, report.namespace.clone(), report.name.clone());
        self.inner().reports.entry(key).or_insert(report);
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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

    /// Holds them against a world that has nothing else in it; what is to be reported.
    fn judged(objects: &Objects) -> Vec<Report> {
        let mut catalog = Catalog::default();
        for item in objects.items() {
            match item {
                Item::Pattern(pattern) => catalog.add_pattern(pattern),
                Item::Binding(binding) => catalog.add_binding(binding),
                Item::Namespace(_) => {}
            }
        }
        objects.take_changed();
        objects.judge(&catalog);
        objects.take_reports()
    }

    /// Every kind listed, and nothing there yet.
    fn nothing() -> Objects {
        let objects = Objects::new("outrigger-system");
        for kind in Kind::ALL {
            objects.listed(kind, &BTreeSet::new());
        }
        objects
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
        let objects = nothing();
        objects.put(Kind::Pattern, &pattern(1, "a:1", &Value::Null));
        let mut reports = judged(&objects);
        objects.put(Kind::Pattern, &pattern(2, "{{ nothing }}", &Value::Null));
        assert_eq!(images(&objects), ["\"a:1\""]);
        reports.extend(judged(&objects));
        assert_eq!(
            reports
                .iter()
                .map(|report| (
                    report.generation,
                    report.finding.is_ready,
                    report.finding.reason
                ))
                .collect::<Vec<_>>(),
            [(1, true, "Valid"), (2, false, "Invalid")]
        );
        assert!(
            reports[1]
                .finding
                .message
                .ends_with("; what it said before stays in use"),
            "{}",
            reports[1].finding.message
        );
        assert_eq!(objects.count(Kind::Pattern), (0, 1));
        objects.listed(Kind::Pattern, &BTreeSet::new());
        assert_eq!(images(&objects), [] as [&str; 0]);
    }

    #[test]
    fn nothing_is_said_twice() {
        let objects = nothing();
        objects.put(Kind::Pattern, &pattern(1, "a:1", &Value::Null));
        let report = judged(&objects).remove(0);
        let said = |message: &str| {
            json!({"conditions": [{
                "type": "Ready", "status": "True", "reason": "Valid", "message": message, "observedGeneration": 1,
            }]})
        };
        objects.put(
            Kind::Pattern,
            &pattern(1, "a:1", &said(&report.finding.message)),
        );
        assert_eq!(judged(&objects), []);
        // Another version of us has other words: it may have the last one.
        objects.put(Kind::Pattern, &pattern(1, "a:1", &said("fine")));
        assert_eq!(judged(&objects), []);
        objects.put(Kind::Pattern, &pattern(2, "a:1", &said("fine")));
        assert_eq!(judged(&objects).len(), 1);
    }

    #[test]
    fn a_binding_waits_for_its_pattern_and_nobody_is_judged_too_early() {
        let objects = Objects::new("outrigger-system");
        let binding = serde_json::from_value(json!({
            "apiVersion": "outrigger.dev/v1alpha1",
            "kind": "PatternBinding",
            "metadata": {"name": "b", "namespace": "shop", "generation": 1},
            "spec": {"pattern": "p", "enforcement": "Required", "podMaySet": ["size"]},
        }))
        .unwrap();
        objects.put(Kind::Binding, &binding);
        assert_eq!(judged(&objects), []);
        for (kind, name) in [
            (Kind::Namespace, None),
            (Kind::Pattern, None),
            (Kind::Binding, Some("b")),
        ] {
            let names = name.map(|name| ("shop".to_owned(), name.to_owned()));
            objects.listed(kind, &names.into_iter().collect());
        }
        objects.judge(&Catalog::default());
        assert_eq!(objects.take_reports(), [], "something came since");
        let missing = judged(&objects).remove(0).finding;
        assert_eq!(
            (missing.reason, &*missing.message),
            (
                "PatternNotFound",
                "`spec.pattern`: there is no pattern `p` here"
            )
        );
        assert_eq!(objects.count(Kind::Binding), (0, 1));
        objects.put(Kind::Pattern, &pattern(1, "a:1", &Value::Null));
        let [told, other] = judged(&objects).try_into().unwrap();
        assert_eq!((other.kind, told.kind), (Kind::Binding, Kind::Pattern));
        assert_eq!(
            (other.finding.reason, &*other.finding.message),
            (
                "InvalidParameters",
                "`spec.podMaySet`: `size` is not a parameter of `p`"
            )
        );
    }

    #[test]
    fn requests_wait_for_every_list() {
        let objects = Objects::new("outrigger-system");
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
