//! Logs: to standard error, as text or JSON. Codes, names and sizes; never a Pod's spec, a variable's value or a patch, at any level.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;

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
    pub(crate) fn init(&self) -> anyhow::Result<()> {
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
        let builder = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_target(false)
            .with_writer(std::io::stderr);
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
        Ok(())
    }

    /// True where a person reads along.
    pub(crate) fn is_text(&self) -> bool {
        self.log_format == Format::Text
    }
}
