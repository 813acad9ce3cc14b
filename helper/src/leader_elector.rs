//! Leader election: holds a Lease (coordination.k8s.io/v1), and says on localhost who leads.
//!
//! ```text
//!  app ──GET /──▶ api ──reads──▶ Standing ◀──writes── election ◀──get, create, update, watch──▶ Lease
//! ```
//!
//! Never two leaders, as long as clocks run at about the same rate: a claim counts from *before* its write was sent and lasts the
//! renew deadline, by this process's monotonic clock; the others wait the longer lease duration from when they *saw* the write.
//! No clock is compared with another's. [`lease`] decides; this module talks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use clap::Args;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::time::Instant;

mod election;
mod lease;

use crate::admin::{Admin, AdminArgs};
use crate::life::Life;
use crate::port::Port;
use crate::settings;

/// What the app asks is answered from memory.
const GRACE: Duration = Duration::from_secs(1);
const MAX_CONNECTIONS: usize = 256;

/// Elect one leader among Pods, and tell the app on localhost who it is
///
/// Candidates of one election share a Lease. `GET /` answers `{"name":"pod-1","self":"pod-1","leader":true}`, with an empty
/// name while nobody is known to lead; `GET /leader` answers 200 to the leader's app and 503 to the others'.
///
/// The service account needs get, create, update and watch on leases of the namespace. Without watch a hand-over is
/// seen a retry period later.
#[derive(Debug, Args)]
pub(crate) struct LeaderElectorArgs {
    /// The Lease that the candidates share
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_LEASE")]
    lease: String,
    /// Its namespace; that of the service account, if it is left out
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// What this candidate is called; the Pod's name, if it is left out
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    /// How long the others wait for a leader that is not heard of; whole seconds
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = settings::duration, env = "OUTRIGGER_LEASE_DURATION")]
    lease_duration: Duration,
    /// How long a leader leads without having renewed its claim; shorter than the lease duration
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = settings::duration, env = "OUTRIGGER_RENEW_DEADLINE")]
    renew_deadline: Duration,
    /// How long between two renewals, or two tries; shorter than the renew deadline
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = settings::duration, env = "OUTRIGGER_RETRY_PERIOD")]
    retry_period: Duration,
    /// Where the app asks
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:4040",
        env = "OUTRIGGER_LISTEN"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What an election needs to know, checked.
#[derive(Debug)]
struct Candidate {
    lease: String,
    namespace: String,
    /// The name that the app is told.
    name: String,
    /// `<name>_<random>`, as client-go's programs write it: a Pod of the same name elsewhere, or an earlier life of this one, is another.
    identity: String,
    lease_duration: Duration,
    lease_seconds: i32,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// Who leads, as far as this process knows.
#[derive(Debug, Default)]
struct Standing {
    /// The Lease's holder when it was last read; empty for nobody.
    holder: String,
    /// The end of our own claim.
    until: Option<Instant>,
    /// When the API server last answered.
    contact: Option<Instant>,
    /// Why it has not since; empty if it has.
    trouble: String,
}

impl Standing {
    fn leads(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// One Standing, and what is counted.
#[derive(Debug, Default)]
struct Shared {
    standing: Mutex<Standing>,
    elected: Counter,
    lost: Counter,
    failures: Counter,
}

impl Shared {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the election until the end of `life`, and then gives the Lease back.
pub(crate) async fn run(args: LeaderElectorArgs, life: Life) -> anyhow::Result<()> {
    let LeaderElectorArgs {
        lease,
        namespace,
        identity,
        lease_duration,
        renew_deadline,
        retry_period,
        listen,
        admin,
    } = args;
    ensure!(
        retry_period < renew_deadline && renew_deadline < lease_duration,
        "`--retry-period` ({retry_period:?}) must be shorter than `--renew-deadline` ({renew_deadline:?}), and that shorter than `--lease-duration` ({lease_duration:?}): otherwise two candidates could lead at once"
    );
    ensure!(
        lease_duration.subsec_nanos() == 0,
        "`--lease-duration` is {lease_duration:?}: a Lease has whole seconds"
    );
    let config = kube::Config::infer().await.context("no Kubernetes API server is known: neither a service account's token nor a kubeconfig is here")?;
    let name = identity.map_or_else(settings::pod_name, Ok)?;
    ensure!(!name.is_empty(), "`--identity` is empty");
    ensure!(!lease.is_empty(), "`--lease` is empty");
    let candidate = Candidate {
        lease,
        namespace: namespace.unwrap_or_else(|| config.default_namespace.clone()),
        identity: format!("{name}_{:08x}", rand::random::<u32>()),
        name,
        lease_seconds: i32::try_from(lease_duration.as_secs())?,
        lease_duration,
        renew_deadline,
        retry_period,
    };
    let shared = Arc::new(Shared::default());
    let port = Port::bind(listen, MAX_CONNECTIONS).await?;
    tracing::info!(address = %port.address()?, lease = candidate.lease, namespace = candidate.namespace, identity = candidate.identity, "serving");
    // The app may ask until we are gone: its own end comes first.
    let open = Life::open();
    let served = tokio::spawn(port.serve(api(&shared, &candidate.name), open.clone(), GRACE));
    let admin = admin.serve(health(&shared, lease_duration), &open).await?;
    election::run(kube::Client::try_from(config)?, candidate, &shared, &life).await;
    open.end();
    let _ = tokio::join!(served, admin);
    Ok(())
}

/// The API of the old elector, on localhost.
fn api(shared: &Arc<Shared>, me: &str) -> Router {
    let me: Arc<str> = me.into();
    Router::new()
        .route("/", get(who))
        .route("/leader", get(whether))
        .with_state((shared.clone(), me))
}

async fn who(State((shared, me)): State<(Arc<Shared>, Arc<str>)>) -> impl IntoResponse {
    let standing = shared.standing();
    let leader = standing.leads(Instant::now());
    // Apps of older electors compare the name with their own: it is ours only while we lead, not in the life of another process of
    // this name, and not once our claim has run out.
    let name = match lease::pod_of(&standing.holder) {
        _ if leader => &*me,
        other if other != &*me => other,
        _ => "",
    };
    Json(json!({"name": name, "self": &*me, "leader": leader}))
}

async fn whether(State((shared, _)): State<(Arc<Shared>, Arc<str>)>) -> StatusCode {
    if shared.standing().leads(Instant::now()) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn health(shared: &Arc<Shared>, lease_duration: Duration) -> Admin {
    let mut metrics = Registry::with_prefix("leader_elector");
    metrics.register(
        "elected",
        "Times this candidate became the leader",
        shared.elected.clone(),
    );
    metrics.register(
        "lost",
        "Times it stopped being the leader without giving the Lease back",
        shared.lost.clone(),
    );
    metrics.register(
        "api_failures",
        "Requests to the API server that failed",
        shared.failures.clone(),
    );
    metrics.register_collector(Box::new(Leading(shared.clone())));
    let shared = shared.clone();
    Admin {
        metrics,
        unready: Arc::new(move || {
            let standing = shared.standing();
            let silence = match standing.contact {
                None => "the API server has not answered yet".to_owned(),
                Some(at) if at.elapsed() > lease_duration => format!(
                    "the API server has not answered for {} s",
                    at.elapsed().as_secs()
                ),
                Some(_) => return None,
            };
            Some(match &*standing.trouble {
                "" => silence,
                trouble => format!("{silence}: {trouble}"),
            })
        }),
        drain: None,
        more: Router::new(),
    }
}

/// Whether this candidate leads, asked when it is scraped: a claim ends by itself.
#[derive(Debug)]
struct Leading(Arc<Shared>);

impl prometheus_client::collector::Collector for Leading {
    fn encode(
        &self,
        mut encoder: prometheus_client::encoding::DescriptorEncoder,
    ) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeMetric;
        let leading: Gauge = Gauge::default();
        leading.set(self.0.standing().leads(Instant::now()).into());
        let encoder = encoder.encode_descriptor(
            "leader",
            "Whether this candidate leads",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        leading.encode(encoder)
    }
}
