//! The slow log of a Redis or Valkey server as JSON lines, each entry once.
//!
//! ```text
//!  every interval: run_id ─▶ another process? ─▶ its ids begin again
//!                  SLOWLOG GET n ─▶ newer than the last one seen ─▶ lines, oldest first; gaps are counted
//! ```
//!
//! Nothing is changed at the server: the log is not reset, and others may read it, too.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use clap::{Args, ValueEnum};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use redis::{RedisResult, Value, cmd};
use serde_json::json;
use tokio::io::AsyncWriteExt;

mod entry;
mod keys;

use crate::admin::{Admin, AdminArgs};
use crate::backoff::backoff;
use crate::life::Life;
use crate::redis_server::{Link, RedisArgs};
use crate::settings;

use entry::{Arguments, Entry};

/// Polls that may fail before the job is not ready.
const MISSES: u32 = 3;
/// The longest wait while the server is away.
const AWAY: Duration = Duration::from_secs(30);
/// Entries that a first question asks for; more where all of them are new.
const BATCH: usize = 16;
/// No server keeps more, in any useful sense.
const MOST: usize = 1 << 20;

/// Print a Redis server's slow log, each entry once, as a JSON line
///
/// Lines go to standard output: time, level, msg, id, `duration_us`, command, argc, key, client. Entries that the server dropped
/// before they were read are counted and told (`lost`); so is a restart of the server. Where the server has `COMMANDLOG` (Valkey
/// 8.1), its large requests and large replies are printed, too.
///
/// What counts as slow is the server's `slowlog-log-slower-than`; how many it keeps, `slowlog-max-len`.
/// The user needs `+slowlog|get +info`, and for Valkey `+commandlog|get`.
#[derive(Debug, Args)]
pub(crate) struct RedisSlowlogArgs {
    /// Between two looks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = settings::duration, env = "OUTRIGGER_INTERVAL")]
    interval: Duration,
    /// What of a command's arguments is printed; they may hold personal data
    #[arg(long, value_enum, default_value_t = Arguments::Key, env = "OUTRIGGER_ARGS")]
    args: Arguments,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = From::Now, env = "OUTRIGGER_FROM")]
    from: From,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The first entry that is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// The first one after the start
    Now,
    /// The oldest one that the server still has
    Oldest,
}

/// A log that the server keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// `SLOWLOG`.
    Slow,
    /// `COMMANDLOG`, by its type.
    Commands(&'static str),
}

/// What Valkey has besides.
const LARGE: [&str; 2] = ["large-request", "large-reply"];

#[derive(Debug, Default)]
struct Shared {
    /// Polls that failed since the last good one; none was good yet while `heard` is empty.
    state: Mutex<(u32, Option<Instant>)>,
    entries: Counter,
    lost: Counter,
    restarts: Counter,
    up: Gauge,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, (u32, Option<Instant>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the log until the end of `life`.
pub(crate) async fn run(args: RedisSlowlogArgs, life: Life) -> anyhow::Result<()> {
    let RedisSlowlogArgs {
        interval,
        args,
        from,
        redis,
        admin,
    } = args;
    let shared = Arc::new(Shared::default());
    let mut reader = Reader {
        link: Link::new(redis.server()?, Duration::ZERO),
        arguments: args,
        from,
        run_id: None,
        begun: false,
        places: Vec::new(),
        lines: String::new(),
        shared: shared.clone(),
    };
    let admin = admin.serve(health(&shared), &life).await?;
    while !life.is_over() {
        let looked = tokio::select! {
            looked = reader.look() => looked,
            () = life.ended() => break,
        };
        let failures = {
            let mut state = shared.state();
            *state = match &looked {
                Ok(()) => (0, Some(Instant::now())),
                Err(_) => (state.0 + 1, state.1),
            };
            state.0
        };
        shared.up.set(looked.is_ok().into());
        match looked {
            Ok(()) => life.sleep(interval).await,
            Err(Trouble::Output(error)) => return Err(error.into()),
            Err(Trouble::Redis(error)) => {
                tracing::warn!(%error, failures, "no slow log from Redis");
                // The file may hold another password by now.
                if let Ok(server) = redis.server() {
                    reader.link = Link::new(server, Duration::ZERO);
                }
                life.sleep(backoff(interval, AWAY.max(interval), failures))
                    .await;
            }
        }
    }
    let _ = admin.await;
    Ok(())
}

fn health(shared: &Arc<Shared>) -> Admin {
    let mut metrics = Registry::with_prefix("redis_slowlog");
    metrics.register("entries", "Entries printed", shared.entries.clone());
    metrics.register(
        "lost",
        "Entries that the server dropped before they were read",
        shared.lost.clone(),
    );
    metrics.register(
        "restarts",
        "Restarts of the server",
        shared.restarts.clone(),
    );
    metrics.register(
        "up",
        "Whether the server answered the last look",
        shared.up.clone(),
    );
    let shared = shared.clone();
    Admin {
        metrics,
        unready: Arc::new(move || match *shared.state() {
            (failures, _) if failures >= MISSES => {
                Some(format!("Redis has not answered {failures} times in a row"))
            }
            (_, None) => Some("Redis has not answered yet".to_owned()),
            _ => None,
        }),
        drain: None,
        more: Router::new(),
    }
}

/// Why a look came to nothing.
#[derive(Debug)]
enum Trouble {
    Redis(redis::RedisError),
    /// Nobody reads what we print.
    Output(io::Error),
}

impl std::convert::From<redis::RedisError> for Trouble {
    fn from(error: redis::RedisError) -> Self {
        Self::Redis(error)
    }
}

/// How far we have read one log.
#[derive(Debug)]
struct Place {
    log: Log,
    /// The last id seen; none before the first look.
    last: Option<i64>,
}

struct Reader {
    link: Link,
    arguments: Arguments,
    from: From,
    run_id: Option<String>,
    /// Whether the server's ids began while we were here: it has restarted.
    begun: bool,
    /// Empty until the server has said which logs it has.
    places: Vec<Place>,
    /// What is to be printed.
    lines: String,
    shared: Arc<Shared>,
}

impl Reader {
    /// Reads and prints what is new in every log.
    async fn look(&mut self) -> Result<(), Trouble> {
        self.identify().await?;
        self.print().await?;
        if self.places.is_empty() {
            let mut logs = vec![Log::Slow];
            if self.has_command_log().await? {
                logs.extend(LARGE.map(Log::Commands));
            }
            self.places = logs
                .into_iter()
                .map(|log| Place {
                    log,
                    last: self.begun.then_some(-1),
                })
                .collect();
        }
        for index in 0..self.places.len() {
            self.read(index).await?;
            self.print().await?;
        }
        Ok(())
    }

    /// Begins anew if the server is another process than at the last look. One that does not tell is believed to be the same.
    async fn identify(&mut self) -> Result<(), Trouble> {
        let info: RedisResult<String> = self.link.ask(cmd("INFO").arg("server")).await;
        let info = match info {
            Err(error) if error.code() == Some("NOPERM") => return Ok(()),
            info => info?,
        };
        let Some(run_id) = info
            .lines()
            .find_map(|line| line.strip_prefix("run_id:"))
            .map(str::trim)
        else {
            return Ok(());
        };
        if self.run_id.as_deref() == Some(run_id) {
            return Ok(());
        }
        if self.run_id.replace(run_id.to_owned()).is_none() {
            return Ok(());
        }
        self.shared.restarts.inc();
        self.line(
            &json!({"time": entry::now(), "level": "info", "msg": "redis restarted", "run_id": run_id}),
        );
        // It may be another version, with other logs.
        self.begun = true;
        self.places.clear();
        Ok(())
    }

    /// Whether there is a command log that we may read: asked of itself, so that the user needs no more rights than for reading.
    async fn has_command_log(&self) -> Result<bool, Trouble> {
        let mut command = cmd("COMMANDLOG");
        command.arg("GET").arg(0).arg(LARGE[0]);
        match self.link.ask::<Value>(&command).await {
            Ok(_) => Ok(true),
            // Unknown, or not permitted.
            Err(error) if matches!(error.code(), Some("ERR" | "NOPERM")) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest entries, newest first; as many as reach back to what we have seen, if the server still has them.
    async fn newest(&self, place: &Place) -> Result<Vec<Entry>, Trouble> {
        let mut count = BATCH;
        loop {
            let command = match place.log {
                Log::Slow => cmd("SLOWLOG").arg("GET").arg(count).to_owned(),
                Log::Commands(kind) => cmd("COMMANDLOG").arg("GET").arg(count).arg(kind).to_owned(),
            };
            let reply: Vec<Value> = self.link.ask(&command).await?;
            let entries: Vec<_> = reply.into_iter().filter_map(Entry::parse).collect();
            let reaches_back = match (place.last, self.from) {
                (Some(last), _) => entries.last().is_none_or(|oldest| oldest.id <= last + 1),
                (None, From::Now) => true,
                (None, From::Oldest) => false,
            };
            if reaches_back || entries.len() < count || count >= MOST {
                return Ok(entries);
            }
            count *= 8;
        }
    }

    async fn read(&mut self, index: usize) -> Result<(), Trouble> {
        let place = &self.places[index];
        let entries = self.newest(place).await?;
        let newest = entries.first().map(|entry| entry.id);
        let mut last = match (place.last, self.from) {
            (Some(last), _) => match newest {
                // Ids begin again with a process; one that may not tell its run_id gives itself away by them.
                Some(newest) if newest < last => -1,
                _ => last,
            },
            (None, From::Now) => newest.unwrap_or(-1),
            (None, From::Oldest) => entries.last().map_or(-1, |oldest| oldest.id - 1),
        };
        let log = place.log;
        for entry in entries
            .iter()
            .rev()
            .filter(|entry| entry.id > last)
            .collect::<Vec<_>>()
        {
            let gap = entry.id - last - 1;
            if gap > 0 {
                self.shared.lost.inc_by(gap.unsigned_abs());
                self.line(&json!({
                    "time": entry::now(), "level": "warn", "lost": gap,
                    "msg": "slow log entries lost: look more often, or raise slowlog-max-len",
                }));
            }
            last = entry.id;
            self.line(&entry.line(log, self.arguments));
            self.shared.entries.inc();
        }
        self.places[index].last = Some(last);
        Ok(())
    }

    fn line(&mut self, line: &serde_json::Value) {
        self.lines += &format!("{line}\n");
    }

    /// A reader that is stuck holds up this job, but neither its health port nor its end.
    async fn print(&mut self) -> Result<(), Trouble> {
        let lines = std::mem::take(&mut self.lines);
        let mut output = tokio::io::stdout();
        output
            .write_all(lines.as_bytes())
            .await
            .map_err(Trouble::Output)?;
        output.flush().await.map_err(Trouble::Output)
    }
}
