//! A work queue: takes items from a Redis stream, and POSTs each to the app on localhost.
//!
//! ```text
//!            ┌──────────── XREADGROUP, XAUTOCLAIM ───────────┐
//!  stream ───┤                                               ├─▶ item ──POST──▶ app
//!            └── XACK ◀── 2xx │ retry ◀── else │ dead ◀──────┘
//! ```
//!
//! At least once: an item is taken off only after the app said 2xx. How often an item was tried is Redis' own delivery count, so it
//! survives a crash of anybody. An app that cannot be reached is no try: the item goes back, and none is taken until it is there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use axum::Router;
use clap::{Args, ValueEnum};
use hyper::Uri;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod metrics;
mod queue;
mod task;
mod worker;

use crate::admin::{Admin, AdminArgs};
use crate::backoff::backoff;
use crate::life::Life;
use crate::redis_server::RedisArgs;
use crate::settings;

use metrics::Metrics;
use queue::{Names, Queue};
use task::Task;
use worker::Worker;

/// How long a read waits for items. A drain waits for it, too.
const BLOCK: Duration = Duration::from_millis(500);
/// Between two looks at how much there is to do, and what may be trimmed. Shorter than the silence that makes a consumer unready.
const LOOK: Duration = Duration::from_secs(10);

/// Take items from a Redis stream, and POST each to the app on localhost
///
/// Producers `XADD` to the stream; one field of the entry is the item. The app gets it as the body of a POST, with the headers
/// `X-Item-Id` and `X-Attempt`, and answers 2xx when it is done. Any other answer, none in time, or a crash of either side is a
/// failed attempt; after the last one the item goes to the dead-letter stream with the reason. Items of consumers that died are
/// taken over. Delivery is at least once: the app must bear an item twice.
///
/// Redis 7.0 or later, or Valkey, not clustered. Redis must persist (`appendonly yes`), otherwise a restart of it loses items.
#[derive(Debug, Args)]
pub(crate) struct WorkQueueArgs {
    /// The stream
    #[arg(long, value_name = "KEY", env = "OUTRIGGER_STREAM")]
    stream: String,
    /// The consumer group, made if it is not there; every group gets every item
    #[arg(
        long,
        value_name = "NAME",
        default_value = "workers",
        env = "OUTRIGGER_GROUP"
    )]
    group: String,
    /// This consumer's name; the Pod's name, if it is left out
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    consumer: Option<String>,
    /// The entry's field that is the item
    #[arg(
        long,
        value_name = "FIELD",
        default_value = "item",
        env = "OUTRIGGER_FIELD"
    )]
    field: String,
    /// Where items are posted
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080/work",
        env = "OUTRIGGER_WORKER_URL"
    )]
    worker_url: Uri,
    /// The Content-Type of the posted items
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "application/octet-stream",
        env = "OUTRIGGER_CONTENT_TYPE"
    )]
    content_type: String,
    /// Items posted at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000), env = "OUTRIGGER_CONCURRENCY")]
    concurrency: u16,
    /// How long the app may take for an item; shorter than the visibility
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = settings::duration, env = "OUTRIGGER_HANDLER_TIMEOUT")]
    handler_timeout: Duration,
    /// After how long without an end an item is given to another consumer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = settings::duration, env = "OUTRIGGER_VISIBILITY")]
    visibility: Duration,
    /// Attempts, after which an item goes to the dead letters
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000), env = "OUTRIGGER_MAX_ATTEMPTS")]
    max_attempts: u32,
    /// The wait before the second attempt; doubled for each further one up to the visibility, and shortened by chance up to the half
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = settings::duration, env = "OUTRIGGER_BACKOFF")]
    backoff: Duration,
    /// The dead-letter stream; `<stream>:dead`, if it is left out
    #[arg(long, value_name = "KEY", env = "OUTRIGGER_DEAD_STREAM")]
    dead_stream: Option<String>,
    /// What is taken out of the stream, so that it does not grow for ever
    #[arg(long, value_enum, default_value_t = Trim::Done, env = "OUTRIGGER_TRIM")]
    trim: Trim,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Trim {
    /// The oldest items that every group has done
    Done,
    /// Nothing: the producers see to it
    Never,
}

/// What each item's task needs.
#[derive(Debug)]
struct Shop {
    queue: Queue,
    worker: Worker,
    metrics: Metrics,
    max_attempts: u32,
    backoff: Duration,
    visibility: Duration,
    /// One permit an item that is being worked on.
    hands: Arc<Semaphore>,
    /// No new items.
    closing: CancellationToken,
}

/// Works until the end of `life`, or a drain; then finishes what is in hand.
pub(crate) async fn run(args: WorkQueueArgs, life: Life) -> anyhow::Result<()> {
    let WorkQueueArgs {
        stream,
        group,
        consumer,
        field,
        worker_url,
        content_type,
        concurrency,
        handler_timeout,
        visibility,
        max_attempts,
        backoff,
        dead_stream,
        trim,
        redis,
        admin,
    } = args;
    ensure!(
        handler_timeout < visibility,
        "`--handler-timeout` ({handler_timeout:?}) must be shorter than `--visibility` ({visibility:?}): otherwise an item is given to another while the app still works on it"
    );
    let dead = dead_stream.unwrap_or_else(|| format!("{stream}:dead"));
    ensure!(
        dead != stream,
        "`--dead-stream` is the stream itself, `{stream}`"
    );
    let names = Names {
        stream,
        group,
        field,
        dead,
        consumer: consumer.map_or_else(settings::pod_name, Ok)?,
    };
    let closing = CancellationToken::new();
    let shop = Arc::new(Shop {
        worker: Worker::new(worker_url, &content_type, handler_timeout)?,
        queue: Queue::new(&redis.server()?, names, visibility, BLOCK),
        metrics: Metrics::default(),
        max_attempts,
        backoff,
        visibility,
        hands: Arc::new(Semaphore::new(concurrency.into())),
        closing: closing.clone(),
    });
    let open = Life::open();
    let health = Admin {
        metrics: shop.metrics.registry(),
        unready: {
            let shop = shop.clone();
            Arc::new(move || shop.queue.unheard())
        },
        drain: Some(closing.clone()),
        more: Router::new(),
    };
    let admin = admin.serve(health, &open).await?;
    let tasks = TaskTracker::new();
    let end = async {
        life.ended().await;
        closing.cancel();
        // The look that is under way is waited for: what it was handed must be given back.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = shop.take(&tasks) => {}
        () = shop.look(trim) => {}
        () = end => {}
    }
    tasks.close();
    tracing::info!(in_hand = tasks.len(), "no new items");
    // Each ends within its handler timeout, or gives its item back.
    tasks.wait().await;
    shop.queue.leave().await;
    // After a drain the Pod's SIGTERM is still to come.
    life.ended().await;
    open.end();
    let _ = admin.await;
    Ok(())
}

impl Shop {
    /// Takes items as long as there are free hands, until the shop closes.
    async fn take(self: &Arc<Self>, tasks: &TaskTracker) {
        let mut failures = 0;
        while !self.closing.is_cancelled() {
            let hands = tokio::select! {
                hands = self.free_hands() => hands,
                () = self.closing.cancelled() => return,
            };
            // Not dropped when the shop closes: what Redis has handed out must be given back.
            match self.queue.next(hands.len(), &self.metrics).await {
                Ok(items) => {
                    failures = 0;
                    for (item, hand) in items.into_iter().zip(hands) {
                        tasks.spawn(Task::new(self.clone(), item).run(hand));
                    }
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "no items from Redis");
                    let wait =
                        backoff(Duration::from_millis(200), Duration::from_secs(5), failures);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.closing.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Looks after the stream for ever, at intervals.
    async fn look(&self, trim: Trim) {
        loop {
            if let Err(error) = self.queue.look(trim, &self.metrics).await {
                tracing::warn!(%error, "no look at the stream");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// All hands that are free, at least one, once the app is there.
    async fn free_hands(&self) -> Vec<tokio::sync::OwnedSemaphorePermit> {
        self.worker.reachable(&self.metrics).await;
        let mut hands = Vec::from_iter(self.hands.clone().acquire_owned().await.ok());
        hands.extend(std::iter::from_fn(|| {
            self.hands.clone().try_acquire_owned().ok()
        }));
        hands
    }
}
