//! The server's side of a cluster: what it runs to keep in step, and what it says of it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use kube::Client;
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;

use super::health::Health;
use super::metrics::Metrics;
use super::refresh::WorldArgs;
use crate::cluster::bundle::{self, Publication};
use crate::cluster::events::{self, Events, Telling};
use crate::cluster::lookup::Lookup;
use crate::cluster::objects::Objects;
use crate::cluster::secret::{self, Authority};
use crate::cluster::{ClusterArgs, conditions, watch};
use crate::tls::{Tls, TlsArgs};

/// How long to listen on before the world is made anew: a list brings many objects at once.
const BREATH: Duration = Duration::from_millis(50);

/// A task that never ends, by its name.
type Task = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// What is kept in step with a cluster.
pub(super) struct Cluster {
    client: Client,
    name: String,
    is_wide: bool,
    objects: Arc<Objects>,
    tellings: Option<Receiver<Telling>>,
    /// With `--tls secret`.
    trust: Option<Trust>,
}

#[derive(Debug)]
struct Trust {
    authority: Arc<Authority>,
    publication: Arc<Publication>,
}

impl Cluster {
    /// Asks the cluster nothing yet; `None` without `--cluster`.
    pub(super) async fn connect(
        args: &ClusterArgs,
        world: &WorldArgs,
        tls_args: &TlsArgs,
        tls: &Arc<Tls>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(client) = args.connect().await? else {
            if tls_args.is_secret() {
                bail!("`--tls secret` needs `--cluster`: that is where the Secret is");
            }
            return Ok(None);
        };
        let trust = tls_args.is_secret().then(|| {
            let secret = format!("{}-ca", args.name);
            Trust {
                authority: Authority::new(tls.clone(), client.clone(), &world.home, secret).into(),
                publication: Arc::default(),
            }
        });
        Ok(Some(Self {
            client,
            name: args.name.clone(),
            is_wide: world.cluster_wide,
            objects: Arc::new(Objects::new(&world.home)),
            tellings: None,
            trust,
        }))
    }

    pub(super) fn objects(&self) -> Arc<Objects> {
        self.objects.clone()
    }

    pub(super) fn lookup(&self) -> Lookup {
        Lookup::new(self.client.clone())
    }

    /// Where to tell the owners of Pods.
    pub(super) fn events(&mut self, metrics: &Metrics) -> Events {
        let (events, tellings) = Events::new(metrics.events_dropped.clone());
        self.tellings = Some(tellings);
        events
    }

    /// What has to run.
    pub(super) fn tasks(&mut self) -> Vec<Task> {
        let tellings = self.tellings.take();
        let client = || self.client.clone();
        let objects = || self.objects.clone();
        let mut tasks: Vec<Task> = vec![
            ("the watches", Box::pin(watch::keep(client(), objects()))),
            (
                "the conditions",
                Box::pin(conditions::keep(client(), objects())),
            ),
        ];
        if let Some(tellings) = tellings {
            // A Pod's name is its host's.
            let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| self.name.clone());
            let events = events::keep(client(), instance, tellings);
            tasks.push(("the events", Box::pin(events)));
        }
        if let Some(Trust {
            authority,
            publication,
        }) = &self.trust
        {
            let secret = secret::keep(authority.clone());
            let bundle = bundle::keep(
                client(),
                self.name.clone(),
                self.is_wide,
                authority.clone(),
                publication.clone(),
            );
            tasks.push(("the CA's Secret", Box::pin(secret)));
            tasks.push(("the caBundles", Box::pin(bundle)));
        }
        tasks
    }

    /// Ends when something was heard; several things at once are one.
    pub(super) async fn heard(&self) {
        self.objects.changed.notified().await;
        sleep(BREATH).await;
    }

    /// How it all stands, for `/readyz`.
    pub(super) fn report(&self, health: &Health) {
        health.set("cluster", self.objects.standing().into());
        if let Some(Trust {
            authority,
            publication,
        }) = &self.trust
        {
            health.set("ca-secret", authority.standing().into());
            health.set("ca-bundle", publication.standing().into());
        }
    }
}
