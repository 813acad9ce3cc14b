//! The `caBundle` of our webhook configurations: always all the CAs of the Secret, whoever edits, empties or upgrades them.
//!
//! Written by server-side apply under a field manager of its own, name and `caBundle` only, so that a chart that does not render the
//! field never argues with us.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{StreamExt, select_all};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{self, Config, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::secret::Authority;
use super::{Standing, in_time, sentence};
use crate::entries::Entry;
use crate::keys;

/// What could not be written is tried again after this, and what we might not have heard of is looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// Whether the API server trusts us.
#[derive(Debug, Default)]
pub(crate) struct Publication(Mutex<Published>);

#[derive(Debug, Default)]
struct Published {
    reached: bool,
    troubles: Vec<String>,
}

impl Publication {
    pub(crate) fn standing(&self) -> Standing {
        let published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Published { reached, troubles } = &*published;
        if *reached {
            Standing::noting(troubles.clone())
        } else if troubles.is_empty() {
            Standing::failing("no webhook configuration has been looked at yet".to_owned())
        } else {
            Standing::failing(troubles.join("; "))
        }
    }

    fn set(&self, is_trusted: bool, troubles: Vec<String>) {
        let mut published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for trouble in &troubles {
            if !published.troubles.contains(trouble) {
                tracing::warn!("{trouble}");
            }
        }
        // Once trusted, what comes later is for people to see: nobody is helped by a server that gets no requests.
        published.reached |= is_trusted;
        published.troubles = troubles;
    }
}

/// One webhook configuration as last seen.
struct Configuration {
    entry: Entry,
    name: String,
    resource: ApiResource,
    api: Api<DynamicObject>,
    state: Seen,
    /// Named by the list that is under way.
    is_listed: bool,
    /// Why the bundle could not be written.
    unwritten: Option<String>,
}

/// `webhooks` as far as we care: names and bundles.
enum Seen {
    NotYet,
    Absent,
    There(Vec<(String, String)>),
    Trouble(String),
}

/// Keeps every `caBundle` right, for ever.
pub(crate) async fn keep(
    client: Client,
    name: String,
    cluster_wide: bool,
    authority: Arc<Authority>,
    publication: Arc<Publication>,
) {
    let mut configurations: Vec<Configuration> = Entry::ALL
        .into_iter()
        .map(|entry| Configuration::new(&client, entry, &name))
        .collect();
    let mut events = select_all(configurations.iter().enumerate().map(|(index, of)| {
        let config = Config::default().fields(&format!("metadata.name={}", of.name));
        watch(of.api.clone(), config)
            .default_backoff()
            .map(move |event| (index, event))
            .boxed()
    }));
    loop {
        tokio::select! {
            Some((index, event)) = events.next() => {
                if let Some(configuration) = configurations.get_mut(index) {
                    configuration.see(event);
                }
            }
            () = authority.changed.notified() => {}
            () = sleep(PERIOD) => {}
        }
        if authority.is_agreed() {
            let bundle = || authority.tls.ca_pem().unwrap_or_default();
            if configurations.iter().any(|of| of.is_other_than(&bundle())) {
                // Perhaps another replica wrote what we have not heard of yet.
                authority.catch_up().await;
            }
            let bundle = bundle();
            for configuration in &mut configurations {
                configuration.publish(&bundle).await;
            }
            let (is_trusted, troubles) = judge(&configurations, cluster_wide, &bundle, &authority);
            publication.set(is_trusted, troubles);
        }
    }
}

/// Whether the certificate in use is trusted by whoever calls, and what is amiss.
fn judge(
    configurations: &[Configuration],
    cluster_wide: bool,
    bundle: &str,
    authority: &Authority,
) -> (bool, Vec<String>) {
    let mut troubles = Vec::new();
    let mut all_seen = true;
    for of in configurations {
        let Configuration {
            entry, name, state, ..
        } = of;
        match state {
            Seen::There(_) if of.is_other_than(bundle) => {
                all_seen = false;
                troubles.extend(of.unwritten.clone());
            }
            Seen::NotYet => all_seen = false,
            Seen::Trouble(trouble) => {
                all_seen = false;
                troubles.push(format!("{} `{name}`: {trouble}", entry.kind()));
            }
            Seen::Absent if entry.is_expected(cluster_wide) => troubles.push(format!(
                "{} `{name}` does not exist: no API server calls us by it",
                entry.kind()
            )),
            Seen::Absent | Seen::There(_) => {}
        }
    }
    if !all_seen {
        return (false, troubles);
    }
    match authority
        .tls
        .published(bundle.to_owned(), SystemTime::now())
    {
        Ok(is_trusted) => (is_trusted, troubles),
        Err(error) => {
            troubles.push(error.to_string());
            (false, troubles)
        }
    }
}

impl Configuration {
    fn new(client: &Client, entry: Entry, prefix: &str) -> Self {
        let resource = resource(entry.kind());
        Self {
            entry,
            name: format!("{prefix}-{}", entry.name()),
            api: Api::all_with(client.clone(), &resource),
            resource,
            state: Seen::NotYet,
            is_listed: false,
            unwritten: None,
        }
    }

    fn see(&mut self, event: watcher::Result<Event<DynamicObject>>) {
        match event {
            Ok(Event::Apply(object)) => self.state = seen(&object),
            Ok(Event::InitApply(object)) => (self.state, self.is_listed) = (seen(&object), true),
            Ok(Event::Delete(_)) => self.state = Seen::Absent,
            Ok(Event::Init) => self.is_listed = false,
            Ok(Event::InitDone) => {
                if !self.is_listed {
                    self.state = Seen::Absent;
                }
            }
            // What was seen before still holds, as far as anybody knows.
            Err(error) => {
                if matches!(self.state, Seen::NotYet | Seen::Trouble(_)) {
                    self.state = Seen::Trouble(super::chain(&error));
                }
            }
        }
    }

    /// True if a webhook trusts something else.
    fn is_other_than(&self, bundle: &str) -> bool {
        match &self.state {
            Seen::There(webhooks) => {
                let bundle = STANDARD.encode(bundle);
                webhooks.iter().any(|(_, published)| *published != bundle)
            }
            Seen::NotYet | Seen::Absent | Seen::Trouble(_) => false,
        }
    }

    /// Writes the bundle, if any webhook has another one.
    async fn publish(&mut self, bundle: &str) {
        let Seen::There(webhooks) = &self.state else {
            return;
        };
        if !self.is_other_than(bundle) {
            return;
        }
        let bundle = STANDARD.encode(bundle);
        let webhooks: Vec<Value> = webhooks
            .iter()
            .map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        let apply = Patch::Apply(json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {"name": self.name},
            "webhooks": webhooks,
        }));
        let params = PatchParams::apply(keys::CA_FIELD_MANAGER).force();
        match in_time(self.api.patch(&self.name, &params, &apply)).await {
            Ok(object) => {
                tracing::info!(configuration = self.name, "caBundle written");
                self.state = seen(&object);
                self.unwritten = None;
            }
            Err(error) => {
                let (kind, name, why) = (self.entry.kind(), &self.name, sentence(&error));
                self.unwritten = Some(format!(
                    "{kind} `{name}`: its caBundle cannot be written: {why}"
                ));
            }
        }
    }
}

/// One of the two kinds of webhook configurations.
pub(super) fn resource(kind: &str) -> ApiResource {
    ApiResource {
        group: "admissionregistration.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "admissionregistration.k8s.io/v1".to_owned(),
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
    }
}

fn seen(object: &DynamicObject) -> Seen {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let webhooks = object.data.get("webhooks").and_then(Value::as_array);
    let entries = webhooks.into_iter().flatten().map(|webhook| {
        let bundle = webhook
            .get("clientConfig")
            .and_then(|config| config.get("caBundle"));
        (text(webhook.get("name")), text(bundle))
    });
    Seen::There(entries.collect())
}
