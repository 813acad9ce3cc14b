//! Rich health: named checks that ask real questions, behind one `GET /healthz`.
//!
//! ```text
//!  kubelet ──GET /healthz──▶ every check: fresh answer? ──▶ 200 | 503 with JSON
//!                                          └ no: one asks, the others wait for it
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use clap::Args;
use futures_util::future::join_all;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Map, json};

mod config;
mod file;
mod grpc;
mod http;
mod named;
mod redis;
mod sql;
mod tcp;

use crate::admin::{Admin, AdminArgs};
use crate::life::Life;

use config::Config;
use named::{Named, Verdict};

/// Answer health probes by named checks: databases, Redis, HTTP, TCP, gRPC, files
///
/// `GET /healthz` on the health port runs all checks and answers 200, or 503 if one fails, with JSON that says for each whether
/// it is ok, how long it took, and why not. Answers are kept for a while, and one probe asks for all: two thousand probes a
/// second are one query. Each check has its own deadline; a probe's timeout must be longer than the longest.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// File with the checks, as JSON: `{"checks": [{"name": "db", "timeout": "2s", "mysql": {"address": "localhost:3306", …}}]}`
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCheck {
    check: String,
}

/// All checks, and what is counted.
#[derive(Debug)]
struct Checks {
    named: Vec<Arc<Named>>,
    up: Family<ByCheck, Gauge>,
    runs: Family<ByCheck, Counter>,
    failures: Family<ByCheck, Counter>,
}

/// Serves until the end of `life`.
pub(crate) async fn run(args: HealthArgs, life: Life) -> anyhow::Result<()> {
    let HealthArgs { config, admin } = args;
    let checks = Arc::new(load(&config).with_context(|| format!("`{}`", config.display()))?);
    tracing::info!(checks = checks.named.len(), "serving");
    let mut metrics = Registry::with_prefix("health");
    metrics.register(
        "check_up",
        "Whether the check was ok when it last ran",
        checks.up.clone(),
    );
    metrics.register("check_runs", "Times the check ran", checks.runs.clone());
    metrics.register("check_failures", "Times it failed", checks.failures.clone());
    let health = Admin {
        metrics,
        // The job itself is ready; what it judges is another matter.
        unready: Arc::new(|| None),
        drain: None,
        more: Router::new()
            .route("/healthz", get(healthz))
            .with_state(checks),
    };
    let served = admin.serve(health, &life).await?;
    let _ = served.await;
    Ok(())
}

/// The checks of a file, not run yet.
fn load(path: &PathBuf) -> anyhow::Result<Checks> {
    let text = std::fs::read_to_string(path)?;
    let Config {
        checks,
        timeout,
        cache,
        directory,
    } = serde_json::from_str(&text)?;
    ensure!(
        !checks.is_empty(),
        "`checks` is empty: expected at least one"
    );
    let mut named = Vec::<Arc<Named>>::new();
    for mut check in checks {
        check.locate(&directory);
        if named.iter().any(|other| other.name == check.name) {
            bail!("two checks are called `{}`", check.name);
        }
        let name = check.name.clone();
        named.push(Arc::new(
            Named::new(check, timeout, cache).with_context(|| format!("check `{name}`"))?,
        ));
    }
    Ok(Checks {
        named,
        up: Family::default(),
        runs: Family::default(),
        failures: Family::default(),
    })
}

async fn healthz(State(checks): State<Arc<Checks>>) -> impl IntoResponse {
    // A task each: a probe that is given up ends no query that others wait for.
    let asked = checks.named.iter().map(|named| {
        let (named, checks) = (named.clone(), checks.clone());
        tokio::spawn(async move {
            let verdict = named
                .verdict(|verdict| checks.count(&named.name, verdict))
                .await;
            (named, verdict)
        })
    });
    let mut bodies = Map::new();
    let mut ok = true;
    for (named, (verdict, age)) in join_all(asked).await.into_iter().flatten() {
        ok &= verdict.failure.is_none();
        bodies.insert(named.name.clone(), body(&verdict, age));
    }
    // A check that fell over is missing.
    ok &= bodies.len() == checks.named.len();
    let status = if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({"status": if ok { "ok" } else { "fail" }, "checks": bodies})),
    )
}

fn body(verdict: &Verdict, age: Duration) -> serde_json::Value {
    let millis = |duration: Duration| (duration.as_secs_f64() * 1e5).round() / 1e2;
    let mut body = json!({"ok": verdict.failure.is_none(), "durationMs": millis(verdict.took), "ageMs": millis(age)});
    if let Some(reason) = &verdict.failure {
        body["reason"] = json!(reason);
    }
    body
}

impl Checks {
    fn count(&self, name: &str, verdict: &Verdict) {
        let check = ByCheck {
            check: name.to_owned(),
        };
        self.up
            .get_or_create(&check)
            .set(verdict.failure.is_none().into());
        self.runs.get_or_create(&check).inc();
        if let Some(reason) = &verdict.failure {
            self.failures.get_or_create(&check).inc();
            tracing::info!(check = name, reason, "check failed");
        }
    }
}

/// What is behind a library's error, without its own words, which say no more than that there was one.
fn causes(error: &dyn std::error::Error) -> anyhow::Error {
    let mut causes = std::iter::successors(error.source(), |cause| cause.source());
    let first = causes.next().map(ToString::to_string);
    let first = anyhow::anyhow!(first.unwrap_or_else(|| error.to_string()));
    // The last is the deepest.
    match causes.last() {
        Some(last) => anyhow::anyhow!("{last}").context(first),
        None => first,
    }
}
