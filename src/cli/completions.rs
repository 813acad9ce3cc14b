//! `outrigger completions`: shell completions to stdout.

use clap::Args;

use super::output::{Ending, Printer};

/// Print completions for a shell
///
/// bash: `source <(outrigger completions bash)`
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &CompletionsArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "outrigger", &mut script);
    printer.data(&String::from_utf8_lossy(&script))?;
    Ok(Ending::Done)
}
