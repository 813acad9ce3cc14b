//! What is counted.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) done: Counter,
    pub(super) failed: Counter,
    pub(super) dead: Counter,
    pub(super) trimmed_away: Counter,
    pub(super) in_flight: Gauge,
    pub(super) waiting: Gauge,
    pub(super) lag: Gauge,
    pub(super) pending: Gauge,
    pub(super) reachable: Gauge,
    pub(super) took: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            done: Counter::default(),
            failed: Counter::default(),
            dead: Counter::default(),
            trimmed_away: Counter::default(),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
            lag: Gauge::default(),
            pending: Gauge::default(),
            reachable: Gauge::default(),
            took: Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0]),
        }
    }
}

impl Metrics {
    pub(super) fn registry(&self) -> Registry {
        let mut metrics = Registry::with_prefix("work_queue");
        metrics.register("done", "Items that the app has done", self.done.clone());
        metrics.register("failed", "Attempts that failed", self.failed.clone());
        metrics.register(
            "dead",
            "Items given up, now dead letters",
            self.dead.clone(),
        );
        metrics.register(
            "trimmed_away",
            "Items that were taken out of the stream before they were done",
            self.trimmed_away.clone(),
        );
        metrics.register(
            "in_flight",
            "Items that the app works on",
            self.in_flight.clone(),
        );
        metrics.register(
            "waiting",
            "Items of this consumer that wait for their next attempt",
            self.waiting.clone(),
        );
        metrics.register(
            "lag",
            "Items of the stream that the group has not been given yet, as of the last look",
            self.lag.clone(),
        );
        metrics.register(
            "pending",
            "Items of the group that are given out and not done, as of the last look",
            self.pending.clone(),
        );
        metrics.register(
            "worker_reachable",
            "Whether the app accepted the last connection",
            self.reachable.clone(),
        );
        metrics.register_with_unit(
            "attempt",
            "How long attempts took",
            Unit::Seconds,
            self.took.clone(),
        );
        metrics
    }
}
