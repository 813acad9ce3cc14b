//! `outrigger install`: the manifests, rendered from the chart.

use clap::Args;

use super::output::{Ending, Printer};

const INSTALL: &str = include_str!("../../manifests/install.yaml");
const INSTALL_CLUSTER_WIDE: &str = include_str!("../../manifests/install-cluster-wide.yaml");
const CRDS: &str = include_str!("../../manifests/crds.yaml");

/// Print the manifests that install Outrigger
///
/// They are the chart as rendered without any value, in namespace `outrigger-system`: `outrigger install | kubectl apply --server-side -f -`.
/// Who wants other values uses the chart.
#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// With the entry by which bindings of Outrigger's own namespace reach every namespace
    #[arg(long, conflicts_with = "crds")]
    cluster_wide: bool,
    /// The definitions of Pattern and `PatternBinding` only
    #[arg(long)]
    crds: bool,
}

pub(super) fn run(args: &InstallArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    let InstallArgs { cluster_wide, crds } = args;
    printer.data(match (crds, cluster_wide) {
        (true, _) => CRDS,
        (false, true) => INSTALL_CLUSTER_WIDE,
        (false, false) => INSTALL,
    })?;
    Ok(Ending::Done)
}
