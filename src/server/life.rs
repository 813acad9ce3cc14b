//! The life of a server: it serves, and then it drains.

use tokio::sync::watch;

/// Tells everybody that draining begins.
#[derive(Debug)]
pub(crate) struct Clock(watch::Sender<bool>);

/// Hears it.
#[derive(Debug, Clone)]
pub(crate) struct Life(watch::Receiver<bool>);

/// The two ends.
pub(crate) fn life() -> (Clock, Life) {
    let (sender, receiver) = watch::channel(false);
    (Clock(sender), Life(receiver))
}

impl Clock {
    /// From now on every answer is the last one of its connection.
    pub(crate) fn drain(&self) {
        self.0.send_replace(true);
    }
}

impl Life {
    pub(crate) fn is_draining(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when draining begins.
    pub(crate) async fn draining(&mut self) {
        // Were the sender gone, draining would be right as well.
        let _ = self.0.wait_for(|draining| *draining).await;
    }
}
