//! The tables: medians of the rounds, the ratio of the two medians, and how far apart the ratios of single rounds were.

use std::time::Duration;

use crate::measure::{Cpu, Latency, Memory, Plan};
use crate::server::Pair;

/// A row for each case.
pub(crate) fn cpu(cases: &[(String, Vec<Pair<Cpu>>)]) {
    println!("| CPU for each review | floor | webhook | ratio | rounds | core busy |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (case, rounds) in cases {
        let busy = Compared::new(rounds, |cpu| cpu.busy * 100.0);
        let busy = format!("{:.0} %, {:.0} %", busy.floor, busy.ours);
        let compared = Compared::new(rounds, |cpu| micros(cpu.per_review));
        compared.row(case, "µs", Some(&busy));
    }
}

/// Everything that is measured with the usual Pod only.
pub(crate) fn usual(
    plan: Plan,
    latency: &[Pair<Latency>],
    memory: &Pair<Memory>,
    first: &[Pair<Duration>],
) {
    println!("| | floor | webhook | ratio | rounds |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    Compared::new(latency, |latency| latency.rate).row("reviews a second", "", None);
    Compared::new(latency, |latency| micros(latency.p50)).row("p50 at half of that", "µs", None);
    Compared::new(latency, |latency| micros(latency.p99)).row("p99 at half of that", "µs", None);
    let memory = std::slice::from_ref(memory);
    let mebibytes = |kibibytes| f64::from(kibibytes) / 1024.0;
    let count = plan.memory_reviews();
    Compared::new(memory, |memory| mebibytes(memory.once)).row(
        &format!("memory after {count} reviews"),
        "MiB",
        None,
    );
    Compared::new(memory, |memory| mebibytes(memory.twice)).row(
        &format!("memory after {} reviews", 2 * count),
        "MiB",
        None,
    );
    Compared::new(first, |first| micros(*first) / 1000.0).row("start to first answer", "ms", None);
}

/// One figure of both servers, over the rounds.
struct Compared {
    floor: f64,
    ours: f64,
    /// Of single rounds, the smallest first.
    ratios: Vec<f64>,
}

impl Compared {
    fn new<T>(rounds: &[Pair<T>], figure: impl Fn(&T) -> f64) -> Self {
        let sorted = |of: &dyn Fn(&Pair<T>) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(of).collect();
            figures.sort_by(f64::total_cmp);
            figures
        };
        let median = |figures: Vec<f64>| figures[figures.len() / 2];
        Self {
            floor: median(sorted(&|round| figure(&round.floor))),
            ours: median(sorted(&|round| figure(&round.ours))),
            ratios: sorted(&|round| figure(&round.ours) / figure(&round.floor)),
        }
    }

    fn row(&self, name: &str, unit: &str, more: Option<&str>) {
        let Self {
            floor,
            ours,
            ratios,
        } = self;
        let spread = match ratios.as_slice() {
            [least, .., most] => format!("{least:.2}–{most:.2}"),
            _ => String::new(),
        };
        let figure = |value: f64| {
            let digits = usize::from(value < 1000.0);
            format!("{value:.digits$} {unit}").trim_end().to_owned()
        };
        let more = more.map(|more| format!(" {more} |")).unwrap_or_default();
        println!(
            "| {name} | {} | {} | {:.2} | {spread} |{more}",
            figure(*floor),
            figure(*ours),
            ours / floor
        );
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
