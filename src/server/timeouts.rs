//! Deadlines of a connection, under HTTP: a head that does not come, an idle client, an answer that nobody takes.
//!
//! ```text
//!  accepted ─▶ head ──request──▶ busy ──answer──▶ idle ──first byte──▶ head …
//!             10 s              (the body's own)    120 s
//! ```
//!
//! hyper has one timeout for the head and for being idle together. We need two: an API server keeps idle connections for 90 s and
//! must never find one closed, and a client that sends its head byte by byte must not stay that long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// From the first byte of a request, or from the start of the connection, to the end of the head.
const HEAD: Duration = Duration::from_secs(10);
/// From an answer to the next request; longer than the API server's 90 s (`k8s.io/apimachinery`, `net.SetTransportDefaults`).
const IDLE: Duration = Duration::from_mins(2);
/// How long a client may leave an answer in the socket.
const WRITE: Duration = Duration::from_secs(30);

/// What a connection is waiting for, shared by the stream and the service above it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phase(Arc<AtomicU8>);

const WAITING_FOR_HEAD: u8 = 0;
const BUSY: u8 = 1;
const ANSWERED: u8 = 2;
const IDLING: u8 = 3;

impl Phase {
    /// A request came.
    pub(crate) fn busy(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }

    /// Its answer is on the way.
    pub(crate) fn answered(&self) {
        self.0.store(ANSWERED, Ordering::Relaxed);
    }
}

/// A stream with deadlines.
#[derive(Debug)]
pub(crate) struct Timed<S> {
    stream: S,
    phase: Phase,
    read: Pin<Box<Sleep>>,
    write: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, phase: Phase) -> Self {
        Self {
            stream,
            phase,
            read: Box::pin(sleep_until(Instant::now() + HEAD)),
            write: None,
        }
    }

    /// Errs once a write has waited too long.
    fn stuck(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let deadline = self
            .write
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(timeout("the client takes no answer"))
    }
}

fn timeout(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        let phase = this.phase.0.load(Ordering::Relaxed);
        match (phase, &result) {
            // The handler has the body's deadline.
            (BUSY, _) => return result,
            (ANSWERED, Poll::Pending) => {
                this.read.as_mut().reset(Instant::now() + IDLE);
                this.phase.0.store(IDLING, Ordering::Relaxed);
            }
            (ANSWERED | IDLING, Poll::Ready(_)) => {
                this.read.as_mut().reset(Instant::now() + HEAD);
                this.phase.0.store(WAITING_FOR_HEAD, Ordering::Relaxed);
            }
            _ => {}
        }
        if result.is_pending() {
            ready!(this.read.as_mut().poll(context));
            return Poll::Ready(Err(timeout("the client sends no request")));
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.stuck(context).map(Err),
            result @ Poll::Ready(_) => {
                self.write = None;
                result
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Pending => self.stuck(context).map(Err),
            result @ Poll::Ready(_) => {
                self.write = None;
                result
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(context) {
            Poll::Pending => self.stuck(context).map(Err),
            result @ Poll::Ready(_) => result,
        }
    }
}
