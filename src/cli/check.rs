//! `outrigger check`: whether a Pod that asks for a helper gets it, tried on the cluster without leaving anything there.

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::output::{Ending, Printer};
use crate::cluster;
use crate::keys;

/// The pattern that asks nothing of a Pod.
const PATTERN: &str = "redis-metrics";

/// Check that the installation works: a Pod created by server dry-run comes back injected
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Namespace of the Pod; not Outrigger's own, nor one that its webhooks leave out
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

pub(super) fn run(args: &CheckArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    let CheckArgs { namespace } = args;
    let answer = super::block_on(async {
        let client = cluster::connect().await?;
        let api = Api::<Pod>::namespaced(client, namespace);
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        anyhow::Ok(api.create(&params, &pod()?).await)
    })??;
    let pod = match answer {
        Ok(pod) => pod,
        Err(error) => {
            let why = cluster::sentence(&error);
            printer.error(&format!("the API server refuses the Pod: {why}"));
            return Ok(Ending::WrongInput);
        }
    };
    let is_injected = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .any(|container| container.name == PATTERN);
    if is_injected {
        printer.note(&format!(
            "a Pod of namespace `{namespace}` that asks for `{PATTERN}` gets it"
        ));
        return Ok(Ending::Done);
    }
    printer.error(&format!(
        "a Pod of namespace `{namespace}` that asks for `{PATTERN}` comes back without it: the API server did not call us"
    ));
    printer.note("hint: `outrigger status` says which webhook configurations there are");
    Ok(Ending::WrongInput)
}

/// A Pod that Pod Security `restricted` lets through.
fn pod() -> serde_json::Result<Pod> {
    let annotation = format!("adapter.{}/{PATTERN}", keys::GROUP);
    serde_json::from_value(json!({
        "metadata": {"generateName": "outrigger-check-", "annotations": {annotation: ""}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "app",
                "image": "example.com/never-pulled:1",
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }))
}
