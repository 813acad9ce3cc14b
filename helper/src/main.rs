//! `outrigger-helper`: the programs of the patterns that no maintained engine does, one subcommand a job.
//!
//! ```text
//!  cli ─▶ life (signals) ─▶ job ─┬─▶ port (what the app, or its clients, call)
//!                                └─▶ admin (port of /livez, /readyz, /metrics)
//! ```

use std::process::ExitCode;

mod admin;
mod backoff;
mod cli;
mod health;
mod leader_elector;
mod life;
mod names;
mod outgoing;
mod port;
mod redis_server;
mod redis_slowlog;
mod scatter_gather;
mod self_signed;
mod settings;
mod work_queue;

fn main() -> ExitCode {
    cli::run()
}
