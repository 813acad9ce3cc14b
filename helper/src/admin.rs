//! The port for the kubelet and Prometheus: `/livez`, `/readyz`, `/metrics`. Where a job has work to put down, also `POST /drain`,
//! which only processes of the Pod itself may ask for: a native sidecar gets its SIGTERM after the app has gone, and its preStop
//! hook at once (kubelet's `killContainer` runs the hooks before it waits for a sidecar's turn).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, extract};
use clap::Args;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::life::Life;
use crate::outgoing;
use crate::port::Port;

/// Probes are few; who opens more connections means no good.
const MAX_CONNECTIONS: usize = 64;
/// Answers come from memory.
const GRACE: Duration = Duration::from_secs(1);

/// Where the port is.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// Where `/livez`, `/readyz` and `/metrics` are served; all addresses, since the kubelet comes from outside
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "[::]:8086",
        env = "OUTRIGGER_HEALTH_ADDRESS",
        help_heading = "Health port"
    )]
    health_address: SocketAddr,
}

/// Says why a job is not ready; nothing when it is.
pub(crate) type Unready = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What a job shows on its health port.
pub(crate) struct Admin {
    pub(crate) metrics: Registry,
    pub(crate) unready: Unready,
    /// Cancelled when the Pod is about to go.
    pub(crate) drain: Option<CancellationToken>,
    /// Routes of the job's own.
    pub(crate) more: Router,
}

impl AdminArgs {
    /// Binds the port and serves it until the end of `life`.
    pub(crate) async fn serve(&self, admin: Admin, life: &Life) -> anyhow::Result<JoinHandle<()>> {
        let port = Port::bind(self.health_address, MAX_CONNECTIONS).await?;
        tracing::info!(address = %port.address()?, "health port");
        let Admin {
            metrics,
            unready,
            drain,
            more,
        } = admin;
        let mut router = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz).with_state(unready))
            .route("/metrics", get(show).with_state(Arc::new(metrics)))
            .merge(more);
        if let Some(drain) = drain {
            router = router.route("/drain", post(begin).with_state(drain));
        }
        Ok(tokio::spawn(port.serve(router, life.clone(), GRACE)))
    }
}

async fn readyz(State(unready): State<Unready>) -> (StatusCode, String) {
    match unready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn show(State(metrics): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &metrics) {
        Ok(()) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn begin(
    State(drain): State<CancellationToken>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    _: extract::Request,
) -> StatusCode {
    // On a socket of both families IPv4's loopback comes as ::ffff:127.0.0.1.
    if !peer.ip().to_canonical().is_loopback() {
        return StatusCode::FORBIDDEN;
    }
    if !drain.is_cancelled() {
        tracing::info!("draining");
        drain.cancel();
    }
    StatusCode::ACCEPTED
}

/// Tell a job of the same Pod to take no more work: what its container's preStop hook runs
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The job's health port
    #[arg(long, value_name = "PORT")]
    port: u16,
}

/// Asks for the drain.
pub(crate) async fn drain(args: &DrainArgs) -> anyhow::Result<()> {
    let url = format!("http://127.0.0.1:{}/drain", args.port);
    let request = hyper::Request::post(&url).body(outgoing::empty())?;
    let asked = outgoing::client(Duration::from_secs(2)).request(request);
    let answer = tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .with_context(|| format!("no answer from `{url}`"))?
        .with_context(|| format!("cannot reach `{url}`"))?;
    anyhow::ensure!(
        answer.status() == StatusCode::ACCEPTED,
        "`{url}` answered {}",
        answer.status()
    );
    Ok(())
}
