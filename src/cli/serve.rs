//! `outrigger serve`: the webhook server.

use clap::Args;

use super::output::{Ending, Printer};
use crate::server;

/// Run the webhook server
///
/// Answers AdmissionReviews over HTTPS with JSON patches. Without any flag it runs alone: on the built-in patterns, with a certificate
/// of its own. SIGTERM ends it without losing a request; SIGINT does so without `--shutdown-delay`; a second signal aborts.
#[derive(Debug, Args)]
pub(super) struct ServeVerb {
    #[command(flatten)]
    server: server::ServeArgs,
}

pub(super) fn run(args: &ServeVerb, printer: &mut Printer) -> anyhow::Result<Ending> {
    server::run(&args.server, &mut |text| printer.note(text))?;
    Ok(Ending::Done)
}
