//! How long the program lives: until a signal asks it to stop, or something that must not end has ended.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// One copy a task; all see the same end.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    stop: CancellationToken,
}

impl Life {
    /// Ends when it is told to.
    pub(crate) fn open() -> Self {
        Self {
            stop: CancellationToken::new(),
        }
    }

    /// Ends at the first SIGTERM or SIGINT; the second one ends the process.
    pub(crate) fn until_signalled() -> anyhow::Result<Self> {
        let life = Self::open();
        let (mut term, mut int) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let stop = life.stop.clone();
        tokio::spawn(async move {
            for second in [false, true] {
                let name =
                    tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
                if second {
                    tracing::warn!(signal = name, "ended by a second signal");
                    #[allow(clippy::exit)] // asked for twice
                    std::process::exit(1);
                }
                tracing::info!(signal = name, "stopping");
                stop.cancel();
            }
        });
        Ok(life)
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        self.stop.cancelled().await;
    }

    /// Whether it has come.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Brings it about.
    pub(crate) fn end(&self) {
        self.stop.cancel();
    }

    /// Sleeps, not past the end.
    pub(crate) async fn sleep(&self, duration: Duration) {
        tokio::select! {
            () = self.ended() => {}
            () = tokio::time::sleep(duration) => {}
        }
    }
}
