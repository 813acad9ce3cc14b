//! The command line: one verb, one file. Data goes to stdout, talk to stderr; exit 0 done, 1 the input is wrong, 2 usage or environment.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod catalog;
mod certs;
mod check;
mod completions;
mod explain;
mod inject;
mod install;
mod lint;
mod output;
mod serve;
mod status;
mod uninject;
mod world;

use output::{Ending, Printer};

/// Gives Pods the helper containers they ask for: sidecars, ambassadors, adapters.
#[derive(Debug, Parser)]
#[command(
    name = "outrigger",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(Box<serve::ServeVerb>),
    Inject(inject::InjectArgs),
    Uninject(uninject::UninjectArgs),
    Explain(explain::ExplainArgs),
    Catalog(catalog::CatalogArgs),
    Lint(lint::LintArgs),
    Status(status::StatusArgs),
    Check(check::CheckArgs),
    Install(install::InstallArgs),
    Certs(certs::CertsArgs),
    Completions(completions::CompletionsArgs),
}

/// Where manifests come from.
#[derive(Debug, Args)]
struct Input {
    /// Files, directories, or `-` for standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    filename: Vec<PathBuf>,
}

/// Parses the arguments and runs the verb.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let mut printer = Printer::new();
    let result = match cli.verb {
        Verb::Serve(args) => serve::run(&args, &mut printer),
        Verb::Inject(args) => inject::run(&args, &mut printer),
        Verb::Uninject(args) => uninject::run(&args, &mut printer),
        Verb::Explain(args) => explain::run(&args, &mut printer),
        Verb::Catalog(args) => catalog::run(&args, &mut printer),
        Verb::Lint(args) => lint::run(&args, &mut printer),
        Verb::Status(args) => status::run(&args, &mut printer),
        Verb::Check(args) => check::run(&args, &mut printer),
        Verb::Install(args) => install::run(&args, &mut printer),
        Verb::Certs(args) => certs::run(&args, &mut printer),
        Verb::Completions(args) => completions::run(&args, &mut printer),
    };
    match result {
        Ok(ending) => ending.into(),
        Err(error) if output::is_broken_pipe(&error) => Ending::Done.into(),
        Err(error) => {
            printer.error(&format!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Runs what asks a cluster, on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future))
}

/// The command as clap knows it, for completions.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
