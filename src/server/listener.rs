//! A port: accepts connections, bounded in number, and speaks HTTP/1.1 on each until the client is done or the server drains.
//!
//! Draining loses nothing: for [`LINGER`] longer every connection is still served, each answer saying `Connection: close`; after that
//! idle connections are closed, and busy ones after their answer.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::State;
use super::life::Life;
use super::metrics::Rejection;
use super::timeouts::{Phase, Timed};

/// From the start of a connection to the end of its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long idle connections stay open once the server drains: whoever was about to send gets an answer.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// A head, and the piece of a body that is read at once.
const BUFFER: usize = 64 * 1024;

/// A bound port.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    connections: Arc<Semaphore>,
    tls: bool,
}

impl Listener {
    /// Binds; `[::]` means IPv4, too, and falls back to it where there is no IPv6.
    pub(super) async fn bind(
        address: SocketAddr,
        tls: bool,
        max_connections: usize,
    ) -> io::Result<Self> {
        let socket = match TcpListener::bind(address).await {
            Err(error) if no_ipv6(&error) && address.ip().is_unspecified() => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        }?;
        Ok(Self {
            socket,
            connections: Arc::new(Semaphore::new(max_connections)),
            tls,
        })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until the server has drained.
    pub(super) async fn serve(self, app: Router, state: Arc<State>, mut life: Life) {
        let mut connections = JoinSet::new();
        let ending = life.clone();
        let end = async move {
            life.draining().await;
            sleep(LINGER).await;
        };
        tokio::pin!(end);
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) => match self.connections.clone().try_acquire_owned() {
                        Ok(permit) => {
                            let connection = Connection { app: app.clone(), state: state.clone(), life: ending.clone(), _permit: permit };
                            connections.spawn(connection.run(stream, self.tls));
                        }
                        // Closed at once: a client that knows is better off than one that waits.
                        Err(_) => state.metrics.rejected(Rejection::TooManyConnections),
                    },
                    // Out of descriptors, or a client that left already: the next may fare better.
                    Err(error) => {
                        tracing::warn!(%error, "no connection accepted");
                        sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = &mut end => break,
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }
}

/// `EAFNOSUPPORT`, or `EADDRNOTAVAIL` where IPv6 is compiled in and turned off.
fn no_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(97) || error.kind() == io::ErrorKind::AddrNotAvailable
}

struct Connection {
    app: Router,
    state: Arc<State>,
    life: Life,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: bool) {
        // Answers are small and awaited; where the option is refused they are a little later.
        let _ = stream.set_nodelay(true);
        if !tls {
            return self.speak(stream).await;
        }
        self.state.metrics.connections.inc();
        let acceptor = TlsAcceptor::from(self.state.tls.current());
        let state = self.state.clone();
        let mut life = self.life.clone();
        let drained = async {
            life.draining().await;
            sleep(LINGER).await;
        };
        let handshake = timeout(HANDSHAKE, acceptor.accept(stream));
        let handshake = tokio::select! {
            handshake = handshake => handshake,
            // Nothing was asked yet, so nothing is lost.
            () = drained => {
                state.metrics.connections.dec();
                return;
            }
        };
        match handshake {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => {
                state.metrics.rejected(Rejection::Handshake);
                tracing::debug!(%error, "handshake failed");
            }
            Err(_) => state.metrics.rejected(Rejection::Handshake),
        }
        state.metrics.connections.dec();
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send>(self, stream: S) {
        let Self {
            app,
            state: _,
            mut life,
            _permit,
        } = self;
        let phase = Phase::default();
        let stream = TokioIo::new(Timed::new(stream, phase.clone()));
        let app = TowerToHyperService::new(app);
        let ending = life.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            phase.busy();
            let answer = app.call(request);
            let (phase, ending) = (phase.clone(), ending.clone());
            async move {
                let mut answer = answer.await?;
                if ending.is_draining() {
                    answer
                        .headers_mut()
                        .insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                phase.answered();
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .max_buf_size(BUFFER)
            .serve_connection(stream, service);
        tokio::pin!(connection);
        let drained = async {
            life.draining().await;
            sleep(LINGER).await;
        };
        // How a connection ended is its client's business: it has what it was sent.
        tokio::select! {
            _ = &mut connection => {}
            () = drained => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}
