//! The command line: picks the job, starts the log, and turns what the job says into an exit code.
//! Data goes to stdout, talk to stderr; 0 done, 1 the job failed, 2 usage.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::life::Life;
use crate::{
    admin, health, leader_elector, redis_slowlog, scatter_gather, self_signed, work_queue,
};

/// The helper programs of Outrigger's patterns that no maintained engine does.
///
/// Each job is a container of its own. Settings are flags or the environment variables named beside them; a setting that
/// makes no sense ends the program at once with a sentence. Logs are JSON lines on standard error. SIGTERM and SIGINT drain
/// and then end the program; a second one ends it at once.
#[derive(Debug, Parser)]
#[command(
    name = "outrigger-helper",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    LeaderElector(Box<leader_elector::LeaderElectorArgs>),
    WorkQueue(Box<work_queue::WorkQueueArgs>),
    ScatterGather(Box<scatter_gather::ScatterGatherArgs>),
    RedisSlowlog(Box<redis_slowlog::RedisSlowlogArgs>),
    Health(health::HealthArgs),
    SelfSigned(self_signed::SelfSignedArgs),
    Drain(admin::DrainArgs),
}

/// Parses the arguments and runs the job to its end.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let result = runtime.block_on(job(cli.job));
            // A name that is being resolved on a thread of its own keeps nobody here.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told that stderr is closed.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn job(job: Job) -> anyhow::Result<()> {
    // kube and redis ask for the process's default; there is only this one to have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let life = Life::until_signalled()?;
    match job {
        Job::LeaderElector(args) => leader_elector::run(*args, life).await,
        Job::WorkQueue(args) => work_queue::run(*args, life).await,
        Job::ScatterGather(args) => scatter_gather::run(*args, life).await,
        Job::RedisSlowlog(args) => redis_slowlog::run(*args, life).await,
        Job::Health(args) => health::run(args, life).await,
        Job::SelfSigned(args) => self_signed::run(&args),
        Job::Drain(args) => admin::drain(&args).await,
    }
}

/// What we do, from `info` up; what libraries say, from `warn` up.
fn log_to_stderr() {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::prelude::*;
    let ours = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_writer(io::stderr)
        .with_filter(ours);
    tracing_subscriber::registry().with(lines).init();
}
