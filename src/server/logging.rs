//! Logs: to standard error, as text or JSON. Codes, names and sizes; never a Pod's spec, a variable's value or a patch, at any level.
//!
//! Lines are written together, [`DELAY`] after the first of them, since waking the reader for each one cost a tenth of a review. A
//! warning is written at once, and what waits goes before it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::sync::Notify;
use tracing::level_filters::LevelFilter;
use tracing::{Level as Gravity, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait.
const DELAY: Duration = Duration::from_millis(20);
/// Waiting lines of this size are not waited with.
const MANY: usize = 64 * 1024;

/// How logs look.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogArgs {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    log_format: Format,
    /// What is logged: this and everything graver
    #[arg(long, value_enum, default_value_t = Level::Info, value_name = "LEVEL")]
    log_level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object a line
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogArgs {
    /// Sets the process's logs up; a second time is an error.
    pub(crate) fn init(&self) -> anyhow::Result<Lines> {
        let Self {
            log_format,
            log_level,
        } = self;
        let level = match log_level {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        };
        let lines = Lines::default();
        let builder = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_target(false)
            .with_writer(lines.clone());
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        match log_format {
            Format::Text => builder.with_ansi(colours).try_init(),
            Format::Json => builder.json().flatten_event(true).try_init(),
        }
        .map_err(|error| anyhow::anyhow!("logs cannot be set up: {error}"))?;
        // A panic's message may quote what it stumbled over.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::error!(place, "panic");
        }));
        Ok(lines)
    }

    /// True where a person reads along.
    pub(crate) fn is_text(&self) -> bool {
        self.log_format == Format::Text
    }
}

/// Lines on their way to standard error.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    text: Mutex<Vec<u8>>,
    first: Notify,
}

impl Lines {
    /// Writes lines once they have waited, for ever.
    pub(super) async fn keep_writing(self) {
        loop {
            self.0.first.notified().await;
            tokio::time::sleep(DELAY).await;
            self.write();
        }
    }

    /// Writes what waits. Nobody can be told that standard error is gone.
    pub(super) fn write(&self) {
        let mut text = self.0.text.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = io::stderr().write_all(&text);
        text.clear();
    }
}

/// Takes one line.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    lines: &'a Lines,
    at_once: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { lines, at_once } = self;
        let waiting = {
            let mut text = lines.0.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.extend_from_slice(bytes);
            text.len()
        };
        if *at_once || waiting >= MANY {
            lines.write();
        } else if waiting == bytes.len() {
            lines.0.first.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            lines: self,
            at_once: true,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line {
            lines: self,
            at_once: *metadata.level() <= Gravity::WARN,
        }
    }
}
