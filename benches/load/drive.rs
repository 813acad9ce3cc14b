//! Two ways to put a server under load: as fast as it answers, and at a rate of our own.
//!
//! One thread for each connection, since a blocked thread costs nothing; they share out the reviews by number.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::client::{Connection, Target};
use crate::review::Review;

/// Enough that a server which is slower than the client always has a request waiting, and few enough to be no load of their own.
const CONNECTIONS: usize = 16;

/// Connections that have all answered once, so that no handshake is measured.
pub(crate) struct Load(Vec<Connection>);

impl Load {
    pub(crate) fn new(target: &Target, review: &Review) -> anyhow::Result<Self> {
        let connections = (0..CONNECTIONS).map(|_| {
            let mut connection = target.connect(review)?;
            connection.exchange()?;
            Ok(connection)
        });
        connections.collect::<anyhow::Result<_>>().map(Self)
    }

    /// A closed loop: `count` reviews, each sent as soon as its connection has the answer to the one before. Says how long that took.
    pub(crate) fn closed(&mut self, count: u32) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        self.share(count, |connection, _| connection.exchange())?;
        Ok(begin.elapsed())
    }

    /// An open loop: a review each `interval`, whether the ones before are answered or not. Says how long after the time it was due
    /// each review was answered, shortest first: one that had to wait for a connection has waited for the server.
    pub(crate) fn open(&mut self, count: u32, interval: Duration) -> anyhow::Result<Vec<Duration>> {
        let begin = Instant::now();
        let mut latencies = self.share(count, |connection, number| {
            let due = begin + interval * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.exchange()?;
            Ok(due.elapsed())
        })?;
        latencies.sort_unstable();
        Ok(latencies)
    }

    /// Does `work` for each number below `count`, on whichever connection is free; the first error ends it all.
    fn share<T: Send>(
        &mut self,
        count: u32,
        work: impl Fn(&mut Connection, u32) -> anyhow::Result<T> + Sync,
    ) -> anyhow::Result<Vec<T>> {
        let next = AtomicU32::new(0);
        let until_done = |connection: &mut Connection| {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(done);
                }
                done.push(work(connection, number).inspect_err(|_| {
                    next.fetch_max(count, Ordering::Relaxed);
                })?);
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .0
                .iter_mut()
                .map(|connection| scope.spawn(|| until_done(connection)))
                .collect();
            let mut all = Vec::new();
            for thread in threads {
                let done: anyhow::Result<Vec<T>> = thread
                    .join()
                    .map_err(|_| anyhow!("a thread of the client panicked"))?;
                all.extend(done?);
            }
            Ok(all)
        })
    }
}
