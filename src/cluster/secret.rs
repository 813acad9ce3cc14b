//! The Secret that holds the CAs: read, made where it is missing, rewritten when a CA is due. Optimistic concurrency, no leader.
//!
//! N replicas that start at once each have a CA in mind; one creates the Secret, the others find it there and take its CA for theirs.
//! A Secret that somebody deletes is written again with the CAs that everybody knows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{Standing, in_time, sentence};
use crate::tls::Tls;
use crate::tls::authority::Authorities;

/// The longest time between two looks at the Secret.
const PERIOD: Duration = Duration::from_secs(5);
/// After a write, ours or somebody else's.
const SOON: Duration = Duration::from_millis(200);

/// The server's CAs, and whether they are the Secret's.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(super) tls: Arc<Tls>,
    api: Api<Secret>,
    name: String,
    agreement: Mutex<Agreement>,
    /// One look at a time: an older one must not be taken over after a newer.
    looking: tokio::sync::Mutex<()>,
    /// The CAs are others than before, or are agreed on now.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct Agreement {
    reached: bool,
    trouble: Option<String>,
}

/// What came of one look.
enum Step {
    /// All is as it should be.
    Settled,
    /// Something was written, by us or by somebody else: look again.
    Written,
}

impl Authority {
    /// The Secret is called `name`, in `namespace`; nothing is asked yet.
    pub(crate) fn new(tls: Arc<Tls>, client: Client, namespace: &str, name: String) -> Self {
        Self {
            tls,
            api: Api::namespaced(client, namespace),
            name,
            agreement: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// True once the Secret and we have the same CAs: before that, ours are nobody's.
    pub(super) fn is_agreed(&self) -> bool {
        self.agreement().reached
    }

    pub(crate) fn standing(&self) -> Standing {
        let Agreement { reached, trouble } = &*self.agreement();
        match (reached, trouble) {
            (true, trouble) => Standing::noting(trouble.clone()),
            (false, Some(trouble)) => Standing::failing(trouble.clone()),
            (false, None) => Standing::failing("the CA's Secret has not been read yet".to_owned()),
        }
    }

    fn settle(&self, outcome: Result<(), String>) {
        let mut agreement = self.agreement();
        match outcome {
            Ok(()) => {
                if !agreement.reached || agreement.trouble.is_some() {
                    tracing::info!("the CA's Secret is as it should be");
                    self.changed.notify_one();
                }
                (agreement.reached, agreement.trouble) = (true, None);
            }
            Err(trouble) => {
                if agreement.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!("{trouble}");
                }
                agreement.trouble = Some(trouble);
            }
        }
    }

    fn agreement(&self) -> std::sync::MutexGuard<'_, Agreement> {
        self.agreement
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps Secret and server together, for ever.
pub(crate) async fn keep(authority: Arc<Authority>) {
    // A CA that another replica adds is to be known here before anybody signs with it.
    let period = authority
        .tls
        .authorities()
        .map_or(PERIOD, |(_, lifetimes)| {
            (lifetimes.overlap() / 2).min(PERIOD)
        });
    loop {
        let pause = match authority.look(SystemTime::now()).await {
            Ok(Step::Written) => SOON,
            Ok(Step::Settled) => {
                authority.settle(Ok(()));
                period
            }
            Err(trouble) => {
                authority.settle(Err(format!("Secret `{}`: {trouble}", authority.name)));
                period
            }
        };
        sleep(pause).await;
    }
}

impl Authority {
    /// Takes over what the Secret says by now, if it can be read; whoever wants to write elsewhere by what we know looks first.
    pub(super) async fn catch_up(&self) {
        // Who cannot read it hears so from `keep`.
        let _ = self.look(SystemTime::now()).await;
    }

    /// Reads the Secret, takes over what it says, and writes what is due.
    async fn look(&self, now: SystemTime) -> Result<Step, String> {
        let Self { tls, api, name, .. } = self;
        let Some((known, lifetimes)) = tls.authorities() else {
            return Ok(Step::Settled);
        };
        let _turn = self.looking.lock().await;
        let found = in_time(api.get_opt(name)).await;
        let found = found.map_err(|error| sentence(&error))?;
        let Some(secret) = found else {
            let secret = fill(name, Secret::default(), &known);
            let created = in_time(api.create(&PostParams::default(), &secret)).await;
            return written(created.map(|_| "created"));
        };
        let found = read(&secret)?;
        if found.bundle() != known.bundle() {
            tls.adopt(found.clone(), now)
                .map_err(|error| error.to_string())?;
            self.changed.notify_one();
        }
        let planned = found.plan(now, lifetimes);
        match planned.map_err(|error| error.to_string())? {
            None => Ok(Step::Settled),
            Some(planned) => {
                let secret = fill(name, secret, &planned);
                let replaced = in_time(api.replace(name, &PostParams::default(), &secret)).await;
                written(replaced.map(|_| "rewritten: a CA is due"))
            }
        }
    }
}

fn read(secret: &Secret) -> Result<Authorities, String> {
    let data = secret
        .data
        .iter()
        .flatten()
        .map(|(key, ByteString(bytes))| (key.clone(), bytes))
        .collect();
    Authorities::read(&data)
        .map_err(|error| format!("{error}; delete it, and it is written again with the CAs in use"))
}

/// A conflict is somebody else's write of the same.
fn written(result: kube::Result<&str>) -> Result<Step, String> {
    match result {
        Ok(what) => tracing::info!("the CA's Secret was {what}"),
        Err(kube::Error::Api(answer)) if answer.is_conflict() || answer.is_already_exists() => {}
        Err(error) => return Err(sentence(&error)),
    }
    Ok(Step::Written)
}

/// The Secret with these CAs; its metadata stay, the resourceVersion with them.
fn fill(name: &str, secret: Secret, authorities: &Authorities) -> Secret {
    let data = authorities
        .data()
        .into_iter()
        .map(|(key, bytes)| (key, ByteString(bytes)))
        .collect();
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..secret.metadata
        },
        data: Some(data),
        ..secret
    }
}
