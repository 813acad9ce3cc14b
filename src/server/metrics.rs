//! Metrics: names, labels and buckets. Label values come from closed sets of ours, or are names of patterns that are loaded; never from
//! a request.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::catalog::Place;
use crate::entries::Entry;
use crate::inject::Decision;

mod label;

use label::Value;
pub(crate) use label::{Label, Outcome, Rejection, Reread, Stage};

/// Every metric of the server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
    duration: Family<StageLabels, Histogram, fn() -> Histogram>,
    request_bytes: Histogram,
    patch_bytes: Histogram,
    pub(crate) in_flight: Gauge,
    pub(crate) connections: Gauge,
    rejected: Family<RejectedLabels, Counter>,
    pub(crate) panics: Counter,
    pub(crate) events_dropped: Counter,
    files: Family<FileLabels, Gauge>,
    objects: Family<ObjectLabels, Gauge>,
    generations: Family<KindLabels, Gauge>,
    reloads: Family<ReloadLabels, Counter>,
    last_reload: Family<WhatLabels, Gauge<f64, AtomicU64>>,
    certificates: Family<CertificateLabels, Gauge<f64, AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    webhook: Value<Entry>,
    verdict: Value<Outcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    pattern: String,
    verdict: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: Value<Stage>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectedLabels {
    reason: Value<Rejection>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabels {
    state: Value<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    kind: &'static str,
    state: Value<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhatLabels {
    what: Value<Reread>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    what: Value<Reread>,
    result: Value<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    role: &'static str,
}

impl Metrics {
    /// All of them, registered, at zero.
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("outrigger"),
            requests: Family::default(),
            decisions: Family::default(),
            // 0.25 ms to 1 s: the API server's own buckets start where ours should have ended.
            duration: Family::new_with_constructor(|| {
                Histogram::new([
                    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1,
                    0.25, 1.0,
                ])
            }),
            request_bytes: Histogram::new(exponential_buckets(1024.0, 4.0, 7)),
            patch_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 6)),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            rejected: Family::default(),
            panics: Counter::default(),
            events_dropped: Counter::default(),
            files: Family::default(),
            objects: Family::default(),
            generations: Family::default(),
            reloads: Family::default(),
            last_reload: Family::default(),
            certificates: Family::default(),
        };
        metrics.register();
        metrics.register_knowledge();
        metrics
    }

    fn register(&mut self) {
        let Self {
            registry,
            requests,
            decisions,
            duration,
            request_bytes,
            patch_bytes,
            in_flight,
            connections,
            rejected,
            panics,
            events_dropped,
            ..
        } = self;
        registry.register("admission_requests", "Reviews answered", requests.clone());
        registry.register(
            "decisions",
            "Candidate instances, and what became of them",
            decisions.clone(),
        );
        registry.register_with_unit(
            "admission_duration",
            "Time spent on a review, by stage",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register_with_unit(
            "request",
            "Size of a review",
            Unit::Bytes,
            request_bytes.clone(),
        );
        registry.register_with_unit(
            "patch",
            "Size of a patch, where there is one",
            Unit::Bytes,
            patch_bytes.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests being read or answered",
            in_flight.clone(),
        );
        registry.register(
            "connections",
            "Open connections to the webhook port",
            connections.clone(),
        );
        registry.register(
            "rejected",
            "Connections and requests turned away unread",
            rejected.clone(),
        );
        registry.register("panics", "Requests that ended in a panic", panics.clone());
        registry.register(
            "events_dropped",
            "Events that came faster than they could be sent",
            events_dropped.clone(),
        );
    }

    /// What the server knows, in place of what it does.
    fn register_knowledge(&mut self) {
        let Self {
            registry,
            files,
            objects,
            generations,
            reloads,
            last_reload,
            certificates,
            ..
        } = self;
        registry.register(
            "configuration_files",
            "Files of patterns and context, by state",
            files.clone(),
        );
        registry.register(
            "configuration_objects",
            "Objects of the cluster that concern us, by kind and state",
            objects.clone(),
        );
        registry.register(
            "configuration_generation",
            "Sum of the generations of the objects of a kind: the same on replicas that know the same",
            generations.clone(),
        );
        registry.register(
            "reloads",
            "Changes of what is read again and again",
            reloads.clone(),
        );
        registry.register_with_unit(
            "last_reload_success_timestamp",
            "When it was last read without a fault",
            Unit::Seconds,
            last_reload.clone(),
        );
        registry.register_with_unit(
            "certificate_not_after_timestamp",
            "When a certificate ends",
            Unit::Seconds,
            certificates.clone(),
        );
        registry.register(
            "build",
            "The program",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
    }

    /// One review was answered.
    pub(crate) fn answered(&self, entry: Entry, outcome: Outcome) {
        let labels = RequestLabels {
            webhook: Value(entry),
            verdict: Value(outcome),
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// One candidate was decided. Its pattern is a label if it is for everybody: names that Pods or tenants make up have no end.
    pub(crate) fn decided(&self, decision: &Decision, home: &str) {
        let name = decision.instance.split('.').next().unwrap_or_default();
        let pattern = match decision.pattern.as_deref() {
            Some(place) if place == home || place == Place::BuiltIn.to_string() => name,
            Some(_) => "namespaced",
            None => "unknown",
        };
        let labels = DecisionLabels {
            pattern: pattern.to_owned(),
            verdict: decision.verdict.name(),
            reason: decision.reason.code(),
        };
        self.decisions.get_or_create(&labels).inc();
    }

    /// A stage took so long.
    pub(crate) fn took(&self, stage: Stage, time: Duration) {
        let labels = StageLabels {
            stage: Value(stage),
        };
        self.duration
            .get_or_create(&labels)
            .observe(time.as_secs_f64());
    }

    /// A body of so many bytes came.
    pub(crate) fn received(&self, bytes: usize) {
        self.request_bytes.observe(float(bytes));
    }

    /// A patch of so many bytes went.
    pub(crate) fn patched(&self, bytes: usize) {
        self.patch_bytes.observe(float(bytes));
    }

    pub(crate) fn rejected(&self, reason: Rejection) {
        let labels = RejectedLabels {
            reason: Value(reason),
        };
        self.rejected.get_or_create(&labels).inc();
    }

    /// Something was read again: whether it is good, and whether it is new.
    pub(crate) fn reread(&self, what: Reread, good: bool, changed: bool, now: SystemTime) {
        if changed {
            let labels = ReloadLabels {
                what: Value(what),
                result: Value(good),
            };
            self.reloads.get_or_create(&labels).inc();
        }
        if good {
            let labels = WhatLabels { what: Value(what) };
            self.last_reload.get_or_create(&labels).set(seconds(now));
        }
    }

    pub(crate) fn files(&self, good: usize, broken: usize) {
        for (state, count) in [(true, good), (false, broken)] {
            let labels = FileLabels {
                state: Value(state),
            };
            self.files
                .get_or_create(&labels)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// So many objects of a kind.
    pub(crate) fn objects(&self, kind: &'static str, good: usize, broken: usize) {
        for (state, count) in [(true, good), (false, broken)] {
            let labels = ObjectLabels {
                kind,
                state: Value(state),
            };
            self.objects
                .get_or_create(&labels)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// What is known of a kind, in one number.
    pub(crate) fn generation(&self, kind: &'static str, sum: i64) {
        self.generations
            .get_or_create(&KindLabels { kind })
            .set(sum);
    }

    /// `role` is `leaf` or `ca`.
    pub(crate) fn certificate(&self, role: &'static str, until: SystemTime) {
        self.certificates
            .get_or_create(&CertificateLabels { role })
            .set(seconds(until));
    }

    /// The exposition in the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let mut exposition = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut exposition, &self.registry);
        exposition
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

fn float(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}
