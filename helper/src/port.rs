//! A port: accepts connections, bounded in number, and speaks HTTP/1.1 on each until the client is done or the job ends.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Extension;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::life::Life;

/// From the start of a connection, or of the wait for the next request on it, to the end of the request's head.
const HEAD: Duration = Duration::from_mins(1);

/// A bound port.
#[derive(Debug)]
pub(crate) struct Port {
    socket: TcpListener,
    connections: Arc<Semaphore>,
}

impl Port {
    /// Binds; `[::]` means IPv4, too, and falls back to it where there is no IPv6.
    pub(crate) async fn bind(address: SocketAddr, max_connections: usize) -> anyhow::Result<Self> {
        let socket = match TcpListener::bind(address).await {
            Err(error) if no_ipv6(&error) && address.ip().is_unspecified() => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        };
        Ok(Self {
            socket: socket.with_context(|| format!("cannot listen on `{address}`"))?,
            connections: Arc::new(Semaphore::new(max_connections)),
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until the end of `life`, and then what is under way for at most `grace`.
    pub(crate) async fn serve(self, app: Router, life: Life, grace: Duration) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = life.ended() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                // Out of descriptors, or a client that left already: the next may fare better.
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            // Closed at once: a client that knows is better off than one that waits.
            let Ok(permit) = self.connections.clone().try_acquire_owned() else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(app.clone().layer(Extension(ConnectInfo(peer))));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // A client that breaks off is no news.
                let _ = connection.await;
                drop(permit);
            });
        }
        drop(self.socket);
        if timeout(grace, graceful.shutdown()).await.is_err() {
            tracing::warn!(grace = ?grace, "requests were cut off");
        }
    }
}

/// `EAFNOSUPPORT`, or `EADDRNOTAVAIL` where IPv6 is compiled in and turned off.
fn no_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(97) || error.kind() == io::ErrorKind::AddrNotAvailable
}
