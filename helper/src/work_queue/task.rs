//! One item in hand, from its delivery to its end: done, given back, left to others, or dead.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::RedisResult;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::Shop;
use super::queue::Item;
use super::worker::Attempt;
use crate::backoff::backoff;

/// Failed items that one consumer waits with; what is more is left to whoever claims it after the visibility.
const WAITING: i64 = 1000;
/// Between two tries to tell Redis that an item is at its end.
const RETRY: Duration = Duration::from_millis(200);

pub(super) struct Task {
    shop: Arc<Shop>,
    item: Item,
    delivered: Instant,
}

/// How an item ends.
enum End<'a> {
    Done,
    /// After so many attempts, with the reason.
    Dead(u32, &'a str),
}

impl Task {
    pub(super) fn new(shop: Arc<Shop>, item: Item) -> Self {
        Self {
            shop,
            item,
            delivered: Instant::now(),
        }
    }

    /// Sees the item through; has a hand as long as the app is busy with it.
    pub(super) async fn run(mut self, mut hand: OwnedSemaphorePermit) {
        while self.attempt().await {
            drop(hand);
            hand = match self.wait().await {
                Some(hand) => hand,
                None => return,
            };
        }
    }

    /// One attempt; whether there is to be another one.
    async fn attempt(&self) -> bool {
        let Self { shop, item, .. } = self;
        let field = shop.queue.field();
        if shop.closing.is_cancelled() {
            self.give_back(item.attempt.saturating_sub(1)).await;
            return false;
        }
        let Some(body) = item.body(field) else {
            self.end(End::Dead(item.attempt, &format!("no field `{field}`")))
                .await;
            return false;
        };
        if item.attempt > shop.max_attempts {
            // This delivery is not tried.
            let tried = item.attempt - 1;
            let reason = "the consumer ended during the last attempt";
            self.end(End::Dead(tried, reason)).await;
            return false;
        }
        let body = Bytes::copy_from_slice(body);
        shop.metrics.in_flight.inc();
        let attempt = shop
            .worker
            .post(&item.id, item.attempt, body, &shop.metrics)
            .await;
        shop.metrics.in_flight.dec();
        match attempt {
            Attempt::Done => self.end(End::Done).await,
            Attempt::Unreachable(reason) => {
                tracing::info!(
                    id = item.id,
                    reason,
                    "the app cannot be reached: the item goes back"
                );
                self.give_back(item.attempt.saturating_sub(1)).await;
            }
            Attempt::Failed(reason) => {
                shop.metrics.failed.inc();
                tracing::info!(
                    id = item.id,
                    attempt = item.attempt,
                    reason,
                    "attempt failed"
                );
                if item.attempt < shop.max_attempts {
                    return true;
                }
                self.end(End::Dead(item.attempt, &reason)).await;
            }
        }
        false
    }

    /// Tells Redis until it has answered, or the item may be another's.
    async fn end(&self, end: End<'_>) {
        let Self {
            shop,
            item,
            delivered,
        } = self;
        let mut failures = 0;
        while let Err(error) = self.tell(&end).await {
            failures += 1;
            tracing::warn!(id = item.id, %error, failures, "Redis did not take the item's end");
            if delivered.elapsed() >= shop.visibility {
                return;
            }
            sleep(backoff(RETRY, RETRY * 10, failures)).await;
        }
        match end {
            End::Done => drop(shop.metrics.done.inc()),
            End::Dead(attempts, reason) => {
                shop.metrics.dead.inc();
                tracing::warn!(id = item.id, attempts, reason, "the item is a dead letter");
            }
        }
    }

    async fn tell(&self, end: &End<'_>) -> RedisResult<()> {
        match end {
            End::Done => self.shop.queue.done(&self.item.id).await,
            End::Dead(attempts, reason) => {
                self.shop.queue.bury(&self.item, *attempts, reason).await
            }
        }
    }

    /// Ready at once for whoever asks next, as if it had been delivered so often.
    async fn give_back(&self, attempts: u32) {
        if let Err(error) = self.shop.queue.give_back(&self.item, attempts).await {
            tracing::info!(id = self.item.id, %error, "the item is not given back: it is claimed after the visibility");
        }
    }

    /// Waits, without a hand, for the next attempt; none if somebody else has taken the item meanwhile.
    async fn wait(&mut self) -> Option<OwnedSemaphorePermit> {
        self.item.forget();
        let Self { shop, item, .. } = &*self;
        if shop.metrics.waiting.get() >= WAITING {
            return None;
        }
        let pause = backoff(shop.backoff, shop.visibility, item.attempt);
        let rest = async {
            sleep(pause).await;
            shop.hands.clone().acquire_owned().await.ok()
        };
        shop.metrics.waiting.inc();
        let hand = tokio::select! {
            hand = rest => hand,
            () = shop.closing.cancelled() => None,
        };
        shop.metrics.waiting.dec();
        if hand.is_none() {
            self.give_back(item.attempt).await;
            return None;
        }
        match shop.queue.again(item, pause, &shop.metrics).await {
            Ok(next) => {
                self.delivered = Instant::now();
                self.item = next?;
                hand
            }
            Err(error) => {
                tracing::info!(id = item.id, %error, "no further attempt here: the item is claimed after the visibility");
                None
            }
        }
    }
}
