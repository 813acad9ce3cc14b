//! The cluster that the server is for: what it watches there, and the few things that it writes.
//!
//! ```text
//!  Patterns, PatternBindings, Namespaces ──watch──▶ objects ──▶ world ──▶ requests
//!                 ▲                                    │
//!                 └────────── conditions ◀─────────────┘
//!  requests ──▶ events on the Pods' owners
//!  Secret NAME-ca ◀──▶ secret ──▶ tls ──▶ bundle ──▶ caBundle of NAME-annotated, NAME-namespace, NAME-cluster, NAME-advise
//! ```
//!
//! No request waits for any of it, but for one bounded [`lookup`] of a namespace that nobody has told us of yet. With the API server
//! gone, everything stays as it last was.

use std::time::Duration;

use clap::Args;
use kube::api::ApiResource;
use kube::{Client, Config};

use crate::keys;

pub(crate) mod bundle;
pub(crate) mod conditions;
pub(crate) mod events;
mod kept;
pub(crate) mod lookup;
pub(crate) mod objects;
pub(crate) mod report;
pub(crate) mod secret;
pub(crate) mod survey;
pub(crate) mod watch;

/// Whether there is a cluster, and what we are called there.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterArgs {
    /// Watch the cluster's Patterns, `PatternBindings` and Namespaces: in a Pod by its service account, elsewhere by `KUBECONFIG`
    #[arg(long)]
    pub(crate) cluster: bool,
    /// What the Service is called; the CA's Secret (`NAME-ca`) and the webhook configurations (`NAME-annotated` …) are called after it
    #[arg(long, value_name = "NAME", default_value = "outrigger")]
    pub(crate) name: String,
}

impl ClusterArgs {
    /// A client, if there is a cluster. It asks nothing yet.
    pub(crate) async fn connect(&self) -> anyhow::Result<Option<Client>> {
        if self.cluster {
            connect().await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// The DNS names of our Service in `home` (`<name>.<home>.svc` is what an API server asks for).
    pub(crate) fn service_names(&self, home: &str) -> Vec<String> {
        let name = &self.name;
        vec![
            format!("{name}.{home}.svc"),
            format!("{name}.{home}.svc.cluster.local"),
            format!("{name}.{home}"),
            name.clone(),
            "localhost".to_owned(),
        ]
    }
}

/// Whether something of the cluster is as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Why the server must get no requests.
    pub(crate) failure: Option<String>,
    /// What is wrong, and does not keep anybody from working.
    pub(crate) notes: Vec<String>,
}

impl Standing {
    fn failing(failure: String) -> Self {
        Self {
            failure: Some(failure),
            notes: Vec::new(),
        }
    }

    fn noting(notes: impl IntoIterator<Item = String>) -> Self {
        Self {
            failure: None,
            notes: notes.into_iter().collect(),
        }
    }
}

/// A client: by the service account in a Pod, by `KUBECONFIG` or `~/.kube/config` elsewhere.
pub(crate) async fn connect() -> anyhow::Result<Client> {
    use anyhow::Context as _;
    let config = Config::infer()
        .await
        .context("no cluster: expected a service account or a kubeconfig")?;
    Client::try_from(config).context("no client comes of the kubeconfig")
}

/// One of our two kinds.
pub(crate) fn resource(kind: &str) -> ApiResource {
    ApiResource {
        group: keys::GROUP.to_owned(),
        version: keys::VERSION.to_owned(),
        api_version: keys::API_VERSION.to_owned(),
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
    }
}

/// The longest that a call to the API server may take; watches have a limit of their own.
const PATIENCE: Duration = Duration::from_secs(10);

/// A call that ends, whatever the API server does.
async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(result) => result,
        Err(_) => Err(kube::Error::Service(
            format!("no answer within {PATIENCE:?}").into(),
        )),
    }
}

/// What went wrong with the API server, in one line: its own sentence where it answered.
pub(crate) fn sentence(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => {
            format!("{} (code {})", status.message, status.code)
        }
        other => chain(other),
    }
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Most repeat what is below them.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
