//! `outrigger explain pod/NAME`: a Pod of the cluster, held against the cluster as it is now; and whether the API server would call us
//! for it.

use anyhow::{Context as _, bail};
use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::{Value, json};

use super::{Explained, explanation};
use crate::cluster;
use crate::cluster::survey::{self, Installation, Uncalled};
use crate::inject::{self, Context};
use crate::kubernetes::pod::Pod;

/// Looks at the Pod called `target` (`pod/NAME`, `NAME`).
pub(super) fn explain(
    target: &str,
    namespace: &str,
    registry: Option<&str>,
) -> anyhow::Result<Explained> {
    let name = match target.split_once('/') {
        None => target,
        Some(("pod" | "pods" | "po", name)) => name,
        Some((kind, _)) => bail!(
            "`{target}`: expected `pod/NAME`, not a {kind}; a workload is explained by `explain -f`"
        ),
    };
    crate::cli::block_on(async {
        let client = cluster::connect().await?;
        let Some(installation) = Installation::find(&client).await? else {
            bail!("Outrigger is not installed here");
        };
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
        let object = api
            .get(name)
            .await
            .with_context(|| format!("Pod {namespace}/{name} cannot be read"))?;
        let (world, _) = survey::world(&client, &installation, registry).await?;
        let json = serde_json::to_vec(&object)?;
        let pod = Pod::read(&json)?;
        let namespace = world.namespace(namespace);
        let context = Context {
            namespace: &namespace,
            catalog: &world.catalog,
        };
        let outcome = inject::inject_pod(&pod, &context);
        let title = format!("Pod {name}");
        let mut explained = explanation(&title, &namespace.name, &outcome);
        let (text, value) = calls(&installation.called(&pod, &namespace));
        explained.text.push_str(&text);
        explained.value["call"] = value;
        Ok(explained)
    })?
}

/// Whether the API server would call us, for people and for machines.
fn calls(called: &Result<crate::entries::Entry, Vec<Uncalled>>) -> (String, Value) {
    match called {
        Ok(entry) => (
            format!(
                "\n  The API server calls us for such a Pod, by `{}`.\n",
                entry.webhook()
            ),
            json!({"by": entry.webhook()}),
        ),
        Err(uncalled) => {
            let mut text = "\n  The API server does not call us for such a Pod:\n".to_owned();
            for Uncalled { name, why } in uncalled {
                text.push_str(&format!("    `{name}`: {why}\n"));
            }
            let reasons: Vec<Value> = uncalled
                .iter()
                .map(|Uncalled { name, why }| json!({"configuration": name, "reason": why}))
                .collect();
            (text, json!({"by": null, "obstacles": reasons}))
        }
    }
}
