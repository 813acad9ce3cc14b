//! The stream in Redis, as one consumer of one group sees it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::streams::{
    StreamAutoClaimReply, StreamClaimReply, StreamId, StreamInfoGroupsReply,
    StreamPendingCountReply, StreamPendingReply, StreamRangeReply, StreamReadReply,
};
use redis::{Client, RedisError, RedisResult, Value, cmd, pipe};

use super::Trim;
use super::metrics::Metrics;
use crate::names;
use crate::redis_server::Link;

/// After so long without an answer from Redis the consumer is not ready.
const UNHEARD: Duration = Duration::from_secs(15);
/// The place in the pending list from which a claim begins, and at which it has seen all.
const START: &str = "0-0";

/// Keys and names.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) stream: String,
    pub(super) group: String,
    pub(super) consumer: String,
    pub(super) field: String,
    pub(super) dead: String,
}

/// One entry of the stream, delivered to us.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    /// How many times it has been delivered, this time included.
    pub(super) attempt: u32,
    fields: HashMap<String, Value>,
}

impl Item {
    /// Lets go of the entry's fields: another delivery brings them again.
    pub(super) fn forget(&mut self) {
        self.fields = HashMap::new();
    }

    /// The item itself, if the entry has one.
    pub(super) fn body(&self, field: &str) -> Option<&[u8]> {
        match self.fields.get(field)? {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    names: Names,
    visibility: Duration,
    block: Duration,
    /// For reads that wait.
    reads: Link,
    /// For all else.
    link: Link,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    heard: Instant,
    /// Where the next claim goes on, and when.
    cursor: String,
    sweep: Instant,
}

impl Queue {
    pub(super) fn new(
        server: &Client,
        names: Names,
        visibility: Duration,
        block: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            names,
            visibility,
            block,
            reads: Link::new(server.clone(), block),
            link: Link::new(server.clone(), Duration::ZERO),
            state: Mutex::new(State {
                heard: now,
                cursor: START.to_owned(),
                sweep: now,
            }),
        }
    }

    pub(super) fn field(&self) -> &str {
        &self.names.field
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the consumer is not ready.
    pub(super) fn unheard(&self) -> Option<String> {
        let silence = self.state().heard.elapsed();
        (silence > UNHEARD).then(|| format!("Redis has not answered for {} s", silence.as_secs()))
    }

    /// Up to `count` items: first those that nobody finished in time, else new ones; none after a while without any.
    pub(super) async fn next(&self, count: usize, metrics: &Metrics) -> RedisResult<Vec<Item>> {
        let items = match self.claim(count, metrics).await {
            Ok(items) if items.is_empty() => self.read(count).await,
            claimed => claimed,
        };
        match items {
            Err(error) if error.code() == Some("NOGROUP") => {
                self.create().await?;
                Ok(Vec::new())
            }
            Err(error) => Err(error),
            Ok(items) => {
                self.state().heard = Instant::now();
                Ok(items)
            }
        }
    }

    /// The group, from the stream's beginning: what was added before the first consumer came is not lost.
    async fn create(&self) -> RedisResult<()> {
        let Names { stream, group, .. } = &self.names;
        let created = self
            .link
            .ask(
                cmd("XGROUP")
                    .arg("CREATE")
                    .arg(stream)
                    .arg(group)
                    .arg("0")
                    .arg("MKSTREAM"),
            )
            .await;
        match created {
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                tracing::info!(stream, group, "consumer group made");
                Ok(())
            }
        }
    }

    async fn read(&self, count: usize) -> RedisResult<Vec<Item>> {
        let Names {
            stream,
            group,
            consumer,
            ..
        } = &self.names;
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(group)
            .arg(consumer)
            .arg("COUNT")
            .arg(count);
        read.arg("BLOCK")
            .arg(millis(self.block))
            .arg("STREAMS")
            .arg(stream)
            .arg(">");
        let reply: Option<StreamReadReply> = self.reads.ask(&read).await?;
        let entries = reply
            .into_iter()
            .flat_map(|reply| reply.keys)
            .flat_map(|key| key.ids);
        Ok(entries
            .map(|entry| Item {
                id: entry.id,
                attempt: 1,
                fields: entry.map,
            })
            .collect())
    }

    /// Items whose consumer has not been heard of for the visibility. Looks through the whole pending list in pieces, at intervals.
    async fn claim(&self, count: usize, metrics: &Metrics) -> RedisResult<Vec<Item>> {
        let Names {
            stream,
            group,
            consumer,
            ..
        } = &self.names;
        if Instant::now() < self.state().sweep {
            return Ok(Vec::new());
        }
        let mut cursor = self.state().cursor.clone();
        let claimed = loop {
            let mut claim = cmd("XAUTOCLAIM");
            claim
                .arg(stream)
                .arg(group)
                .arg(consumer)
                .arg(millis(self.visibility))
                .arg(&cursor)
                .arg("COUNT")
                .arg(count);
            let reply: StreamAutoClaimReply = self.link.ask(&claim).await?;
            if !reply.deleted_ids.is_empty() {
                metrics.trimmed_away.inc_by(reply.deleted_ids.len() as u64);
                tracing::warn!(ids = ?reply.deleted_ids, "items were taken out of the stream before they were done");
            }
            cursor = reply.next_stream_id;
            if !reply.claimed.is_empty() || cursor == START {
                break reply.claimed;
            }
        };
        if cursor == START {
            self.state().sweep = Instant::now() + (self.visibility / 4).min(Duration::from_secs(5));
        }
        self.state().cursor = cursor;
        let mut items = Vec::new();
        for entry in claimed {
            items.push(self.counted(entry).await?);
        }
        Ok(items)
    }

    /// A claimed entry with its delivery count, which only the pending list knows.
    async fn counted(&self, entry: StreamId) -> RedisResult<Item> {
        let Names { stream, group, .. } = &self.names;
        let pending: StreamPendingCountReply = self
            .link
            .ask(
                cmd("XPENDING")
                    .arg(stream)
                    .arg(group)
                    .arg(&entry.id)
                    .arg(&entry.id)
                    .arg(1),
            )
            .await?;
        let attempt = pending
            .ids
            .first()
            .map_or(1, |pending| pending.times_delivered);
        Ok(Item {
            id: entry.id,
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            fields: entry.map,
        })
    }

    /// Takes a done item off the group's list.
    pub(super) async fn done(&self, id: &str) -> RedisResult<()> {
        self.link
            .ask(
                cmd("XACK")
                    .arg(&self.names.stream)
                    .arg(&self.names.group)
                    .arg(id),
            )
            .await
    }

    /// Moves an item to the dead letters, whole, with how often it was tried and the reason.
    pub(super) async fn bury(&self, item: &Item, attempts: u32, reason: &str) -> RedisResult<()> {
        let Names {
            stream,
            group,
            dead,
            ..
        } = &self.names;
        let mut add = cmd("XADD");
        add.arg(dead).arg("*");
        for (field, value) in &item.fields {
            if let Value::BulkString(value) = value {
                add.arg(field).arg(value);
            }
        }
        add.arg(names::DEAD_ID)
            .arg(&item.id)
            .arg(names::DEAD_ATTEMPTS)
            .arg(attempts)
            .arg(names::DEAD_REASON)
            .arg(reason);
        let mut both = pipe();
        both.atomic()
            .add_command(add)
            .ignore()
            .cmd("XACK")
            .arg(stream)
            .arg(group)
            .arg(&item.id)
            .ignore();
        self.link.ask_all(&both).await
    }

    /// Another delivery to us after a pause; none if the item has been delivered since, or is no more.
    pub(super) async fn again(
        &self,
        item: &Item,
        pause: Duration,
        metrics: &Metrics,
    ) -> RedisResult<Option<Item>> {
        let Names {
            stream,
            group,
            consumer,
            ..
        } = &self.names;
        if !self.is_ours(item).await? {
            return Ok(None);
        }
        let id = &item.id;
        // Idle for shorter than our pause: somebody took it between the two commands.
        let claim = cmd("XCLAIM")
            .arg(stream)
            .arg(group)
            .arg(consumer)
            .arg(millis(pause))
            .arg(id)
            .to_owned();
        let claimed: StreamClaimReply = self.link.ask(&claim).await?;
        if let Some(entry) = claimed.ids.into_iter().next() {
            return self.counted(entry).await.map(Some);
        }
        let entry: StreamRangeReply = self
            .link
            .ask(cmd("XRANGE").arg(stream).arg(id).arg(id))
            .await?;
        if entry.ids.is_empty() {
            metrics.trimmed_away.inc();
            tracing::warn!(ids = ?[id], "items were taken out of the stream before they were done");
        }
        Ok(None)
    }

    /// Makes an item claimable at once, as delivered so many times.
    pub(super) async fn give_back(&self, item: &Item, attempts: u32) -> RedisResult<()> {
        let Names {
            stream,
            group,
            consumer,
            ..
        } = &self.names;
        if !self.is_ours(item).await? {
            return Ok(());
        }
        let mut claim = cmd("XCLAIM");
        claim
            .arg(stream)
            .arg(group)
            .arg(consumer)
            .arg(0)
            .arg(&item.id);
        claim
            .arg("IDLE")
            .arg(millis(self.visibility))
            .arg("RETRYCOUNT")
            .arg(attempts)
            .arg("JUSTID");
        self.link.ask(&claim).await
    }

    /// Whether this delivery of the item was the last one. A later one may have been to us, too.
    async fn is_ours(&self, item: &Item) -> RedisResult<bool> {
        let Names {
            stream,
            group,
            consumer,
            ..
        } = &self.names;
        let pending: StreamPendingCountReply = self
            .link
            .ask(
                cmd("XPENDING")
                    .arg(stream)
                    .arg(group)
                    .arg(&item.id)
                    .arg(&item.id)
                    .arg(1)
                    .arg(consumer),
            )
            .await?;
        Ok(pending
            .ids
            .first()
            .is_some_and(|pending| pending.times_delivered == item.attempt as usize))
    }

    /// Looks at how much there is to do, and takes out of the stream what every group has done. Our group is one of them before
    /// our app is there: otherwise what we have yet to do would go.
    pub(super) async fn look(&self, trim: Trim, metrics: &Metrics) -> RedisResult<()> {
        let Names { stream, group, .. } = &self.names;
        self.create().await?;
        let groups: StreamInfoGroupsReply = self
            .link
            .ask(cmd("XINFO").arg("GROUPS").arg(stream))
            .await?;
        self.state().heard = Instant::now();
        let mut keep: Option<(u64, u64)> = None;
        for known in groups.groups {
            let pending: StreamPendingReply = self
                .link
                .ask(cmd("XPENDING").arg(stream).arg(&known.name))
                .await?;
            // Read after the group's last id: what was delivered meanwhile is later than that.
            let first = match &pending {
                StreamPendingReply::Data(data) => {
                    place(&data.start_id)?.min(place(&known.last_delivered_id)?)
                }
                _ => place(&known.last_delivered_id)?,
            };
            keep = Some(keep.map_or(first, |keep| keep.min(first)));
            if known.name == *group {
                metrics
                    .pending
                    .set(i64::try_from(known.pending).unwrap_or(i64::MAX));
                metrics.lag.set(
                    known
                        .lag
                        .and_then(|lag| i64::try_from(lag).ok())
                        .unwrap_or(-1),
                );
            }
        }
        let (Some((time, number)), Trim::Done) = (keep, trim) else {
            return Ok(());
        };
        self.link
            .ask(
                cmd("XTRIM")
                    .arg(stream)
                    .arg("MINID")
                    .arg("~")
                    .arg(format!("{time}-{number}")),
            )
            .await
    }

    /// Takes this consumer off the group's list, if it owes nothing.
    pub(super) async fn leave(&self) {
        let Names {
            stream,
            group,
            consumer,
            ..
        } = &self.names;
        let owed: RedisResult<StreamPendingCountReply> = self
            .link
            .ask(
                cmd("XPENDING")
                    .arg(stream)
                    .arg(group)
                    .arg("-")
                    .arg("+")
                    .arg(1)
                    .arg(consumer),
            )
            .await;
        // Deleting a consumer deletes what it owes.
        if owed.is_ok_and(|owed| owed.ids.is_empty()) {
            let _: RedisResult<()> = self
                .link
                .ask(
                    cmd("XGROUP")
                        .arg("DELCONSUMER")
                        .arg(stream)
                        .arg(group)
                        .arg(consumer),
                )
                .await;
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An entry's id, as it is ordered.
fn place(id: &str) -> RedisResult<(u64, u64)> {
    let parsed = id
        .split_once('-')
        .and_then(|(time, number)| Some((time.parse().ok()?, number.parse().ok()?)));
    parsed
        .ok_or_else(|| RedisError::from((redis::ErrorKind::Parse, "no entry's id", id.to_owned())))
}
