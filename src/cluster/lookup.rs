//! The one question that a request may ask the API server: a namespace that its watch has not told us of yet.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace as Full;
use kube::Client;
use kube::api::{Api, ObjectMeta};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::catalog::Namespace;

/// How long a request waits for the answer; the API server asks us again a second later.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions at the same time.
const AT_ONCE: usize = 8;

/// Asks.
#[derive(Debug)]
pub(crate) struct Lookup {
    api: Api<Full>,
    turns: Semaphore,
}

impl Lookup {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            api: Api::all(client),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// The namespace as the API server knows it; one that does not exist has neither labels nor annotations. `None`: no answer in time.
    pub(crate) async fn namespace(&self, name: &str) -> Option<Namespace> {
        let ask = async {
            let _turn = self.turns.acquire().await.ok()?;
            match self.api.get_metadata_opt(name).await {
                Ok(found) => Some(found.map(|found| found.metadata).unwrap_or_default()),
                Err(error) => {
                    let why = super::sentence(&error);
                    tracing::warn!(
                        namespace = name,
                        "a namespace could not be looked up: {why}"
                    );
                    None
                }
            }
        };
        let ObjectMeta {
            labels,
            annotations,
            ..
        } = timeout(PATIENCE, ask).await.ok()??;
        Some(Namespace {
            name: name.to_owned(),
            labels: labels.unwrap_or_default(),
            annotations: annotations.unwrap_or_default(),
        })
    }
}
