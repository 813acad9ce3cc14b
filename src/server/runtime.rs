//! The process: binds everything, then spawns everything, then ends everything. Nothing else spawns tasks but a listener its connections.
//!
//! ```text
//!  SIGTERM ─▶ not ready ── --shutdown-delay ──▶ drain ── at most --drain-timeout ──▶ exit 0
//!  SIGINT ──▶ not ready ──────────────────────▶ drain
//!  a second signal, a drain that takes too long, a task that ends by itself ──▶ exit 2, with its name
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::cluster::Cluster;
use super::life::{Clock, life};
use super::listener::{LINGER, Listener};
use super::logging::LogArgs;
use super::refresh::{Certificates, Configuration, PERIOD, WorldArgs};
use super::{State, admin, app};
use crate::cluster::ClusterArgs;
use crate::tls::{Tls, TlsArgs};

/// Connections to the plain port: a kubelet, a Prometheus, and somebody who looks.
const MAX_ADMIN_CONNECTIONS: usize = 64;

/// The webhook server
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address of the webhook port (HTTPS)
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Address of the plain port: `/livez`, `/readyz`, `/metrics`, `/ca.pem`
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    admin_listen: SocketAddr,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    tls: TlsArgs,
    /// Requests that are worked on at the same time; further ones wait a moment, then get a 429
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = at_least_one)]
    max_in_flight: usize,
    /// Open connections to the webhook port; further ones are closed
    #[arg(long, value_name = "NUMBER", default_value_t = 4096, value_parser = at_least_one)]
    max_connections: usize,
    /// How long to go on serving after SIGTERM, not ready, so that whoever routes to us can notice
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    shutdown_delay: Duration,
    /// How long requests in flight have to end after that
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    drain_timeout: Duration,
    #[command(flatten)]
    logs: LogArgs,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=1_000_000).contains(&number) => Ok(number),
        _ => Err("expected a number from 1 to 1000000".to_owned()),
    }
}

/// `10s`, `500ms`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    crate::text::duration(text)
        .filter(|duration| *duration <= Duration::from_hours(1))
        .ok_or_else(|| {
            "expected a duration such as `10s`, `500ms` or `2m`, at most an hour".to_owned()
        })
}

/// Everything that is bound and loaded; nothing runs yet.
struct Bound {
    webhook: Listener,
    admin: Listener,
    state: Arc<State>,
    configuration: Configuration,
    certificates: Certificates,
    cluster: Option<Cluster>,
    signals: Signals,
}

/// Runs the server until a signal ends it; `tell` gets what a person wants to know at the start.
pub(crate) fn run(args: &ServeArgs, tell: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let lines = args.logs.init()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime does not start")?;
    let result = runtime.block_on(async {
        let mut tasks = Tasks::default();
        tasks.spawn("the log", lines.clone().keep_writing());
        bind(args).await?.serve(args, tasks, tell).await
    });
    lines.write();
    result
}

async fn bind(args: &ServeArgs) -> anyhow::Result<Bound> {
    let port = async |flag: &str, address: SocketAddr, tls, connections| {
        Listener::bind(address, tls, connections)
            .await
            .with_context(|| format!("{flag} {address}"))
    };
    let names = args.cluster.service_names(&args.world.home);
    let tls = Arc::new(Tls::load(&args.tls, &names, SystemTime::now())?);
    let mut cluster = Cluster::connect(&args.cluster, &args.world, &args.tls, &tls).await?;
    let webhook = port("--listen", args.listen, true, args.max_connections).await?;
    let admin = port(
        "--admin-listen",
        args.admin_listen,
        false,
        MAX_ADMIN_CONNECTIONS,
    )
    .await?;
    let objects = cluster.as_ref().map(Cluster::objects);
    let mut configuration = Configuration::load(&args.world, objects);
    let mut state = State::new(tls, configuration.world(), args.max_in_flight);
    if let Some(cluster) = &mut cluster {
        state.lookup = Some(cluster.lookup());
        state.events = Some(cluster.events(&state.metrics));
    }
    configuration.report(&state.world.load(), &state.metrics, &state.health);
    let mut certificates = Certificates::default();
    certificates.refresh(&state.tls, &state.metrics, &state.health, SystemTime::now());
    Ok(Bound {
        webhook,
        admin,
        state: Arc::new(state),
        configuration,
        certificates,
        cluster,
        signals: Signals::new().context("signals cannot be heard")?,
    })
}

impl Bound {
    async fn serve(
        self,
        args: &ServeArgs,
        mut tasks: Tasks,
        tell: &mut dyn FnMut(&str),
    ) -> anyhow::Result<()> {
        let Self {
            webhook,
            admin,
            state,
            configuration,
            certificates,
            mut cluster,
            mut signals,
        } = self;
        announce(args, &state, [webhook.address()?, admin.address()?], tell);
        let (clock, life) = life();
        // Probes and metrics are answered to the very end.
        let (_never, endless) = super::life::life();
        if let Some(cluster) = &cluster {
            // Before anybody can ask: what is not known yet is not fine.
            cluster.report(&state.health);
        }
        let webhook = webhook.serve(app(&state), state.clone(), life);
        let admin = admin.serve(admin::app(&state), state.clone(), endless);
        tasks.spawn(WEBHOOK, webhook);
        tasks.spawn("the admin port", admin);
        if let Some(cluster) = &mut cluster {
            for (name, task) in cluster.tasks() {
                tasks.spawn(name, task);
            }
        }
        tasks.spawn(
            "refresh",
            refresh(state.clone(), configuration, certificates, cluster),
        );
        let (by, delay) = tokio::select! {
            task = tasks.first() => bail!("{task} ended by itself"),
            by = signals.next() => match by {
                SIGTERM => (by, args.shutdown_delay),
                _ => (by, Duration::ZERO),
            },
        };
        tracing::info!(by, ?delay, "stopping");
        state.health.stopping();
        tokio::select! {
            result = drain(&clock, &mut tasks, delay, args.drain_timeout) => result,
            by = signals.next() => Err(anyhow!("aborted by a second signal, {by}")),
        }
        .with_context(|| match state.metrics.in_flight.get() {
            1 => "1 request in flight".to_owned(),
            several => format!("{several} requests in flight"),
        })
    }
}

/// Serves on for `delay`, then waits until every connection had its last answer.
async fn drain(
    clock: &Clock,
    tasks: &mut Tasks,
    delay: Duration,
    limit: Duration,
) -> anyhow::Result<()> {
    tokio::select! {
        task = tasks.first() => bail!("{task} ended by itself"),
        () = sleep(delay) => clock.drain(),
    }
    match timeout(LINGER + limit, tasks.first()).await {
        Ok(WEBHOOK) => {
            tracing::info!("drained");
            Ok(())
        }
        Ok(task) => bail!("{task} ended by itself"),
        Err(_) => bail!("`--drain-timeout` {limit:?} was too short"),
    }
}

/// Reads what may change again, for ever. Files are read on a thread that may wait.
async fn refresh(
    shared: Arc<State>,
    mut configuration: Configuration,
    mut certificates: Certificates,
    cluster: Option<Cluster>,
) {
    let mut period = interval(PERIOD);
    // A process that was stopped for an hour has one refresh to make up for.
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        match &cluster {
            None => drop(period.tick().await),
            Some(cluster) => tokio::select! {
                _ = period.tick() => {}
                () = cluster.heard() => {}
            },
        }
        let state = shared.clone();
        let round = tokio::task::spawn_blocking(move || {
            let State {
                world,
                tls,
                metrics,
                health,
                ..
            } = &*state;
            configuration.refresh(world, metrics, health);
            certificates.refresh(tls, metrics, health, SystemTime::now());
            (configuration, certificates)
        });
        match round.await {
            Ok(kept) => (configuration, certificates) = kept,
            Err(_) => return,
        }
        // Only now: what is listed is in the world.
        if let Some(cluster) = &cluster {
            cluster.report(&shared.health);
        }
    }
}

/// Says where the server is, and how to try it.
fn announce(
    args: &ServeArgs,
    state: &State,
    [webhook, admin]: [SocketAddr; 2],
    tell: &mut dyn FnMut(&str),
) {
    tracing::info!(listen = %webhook, admin_listen = %admin, "serving");
    if !args.logs.is_text() || args.cluster.cluster || state.tls.ca_pem().is_none() {
        return;
    }
    let (webhook, admin) = (place(webhook), place(admin));
    let ca_url = format!("http://{admin}/ca.pem");
    let (pipe, file, from) = match state.tls.ca_file() {
        Some(file) => (String::new(), file.clone(), file),
        None => (
            format!("curl -s {ca_url} | "),
            "/dev/stdin".to_owned(),
            ca_url,
        ),
    };
    tell(&format!(
        "
webhook  https://{webhook}
admin    http://{admin}/readyz?verbose
CA       {from}

Try it:

  {pipe}curl -s --cacert {file} -H 'Content-Type: application/json' -d @examples/review.json https://{webhook}/mutate/annotated
"
    ));
}

/// An address as somebody on this machine types it.
fn place(address: SocketAddr) -> String {
    if address.ip().is_unspecified() || address.ip().is_loopback() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

const WEBHOOK: &str = "the webhook port";

/// Tasks by name; none of them is meant to end.
#[derive(Default)]
struct Tasks(JoinSet<&'static str>);

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            name
        });
    }

    /// The name of the next one that ends.
    async fn first(&mut self) -> &'static str {
        match self.0.join_next().await {
            Some(Ok(name)) => name,
            Some(Err(_)) => "a task that panicked",
            None => "every task",
        }
    }
}

const SIGTERM: &str = "SIGTERM";

/// The two signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one's name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => SIGTERM,
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
