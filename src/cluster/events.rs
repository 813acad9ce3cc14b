//! Events on the owners of Pods: what their Pods got, and what they did not get and why. An admission warning reaches whoever typed
//! `kubectl`; a Pod of a Deployment has nobody who types.
//!
//! Sent after the answer, never for a dry run, each thing once for an owner: an Event's name is made of what it says, so that
//! replicas find each other's. What comes faster than it can be sent is dropped and counted.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::sleep;

use super::{in_time, sentence};
use crate::hash;
use crate::inject::{Decision, Reason, Verdict};
use crate::keys;
use crate::kubernetes::owner::Owner;
use crate::text::excerpt;

/// Events that wait to be sent.
const WAITING: usize = 256;
/// Between two Events of a replica.
const PAUSE: Duration = Duration::from_millis(20);
/// Things that are known to have been said; then they are forgotten together, and some are said again.
const REMEMBERED: usize = 16_384;
/// Bytes of an Event's note (`k8s.io/api/events/v1`: at most 1 kB).
const MAX_NOTE: usize = 1000;

/// Takes what there is to tell.
#[derive(Debug)]
pub(crate) struct Events {
    sender: Sender<Telling>,
    said: Mutex<HashSet<String>>,
    dropped: Counter,
}

/// One thing to tell an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Telling {
    namespace: String,
    owner: Owner,
    reason: &'static str,
    is_warning: bool,
    note: String,
    /// What makes it the same thing again.
    key: String,
}

impl Events {
    pub(crate) fn new(dropped: Counter) -> (Self, Receiver<Telling>) {
        let (sender, receiver) = channel(WAITING);
        let events = Self {
            sender,
            said: Mutex::default(),
            dropped,
        };
        (events, receiver)
    }

    /// Tells a Pod's owner what became of the Pod. Never waits.
    pub(crate) fn tell(&self, namespace: &str, owner: &Owner, decisions: &[Decision]) {
        for telling in tellings(namespace, owner, decisions) {
            let key = telling.key.clone();
            if self.is_new(&key) && self.sender.try_send(telling).is_err() {
                self.dropped.inc();
                self.said().remove(&key);
            }
        }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_new(&self, key: &str) -> bool {
        let mut said = self.said();
        if said.len() >= REMEMBERED {
            said.clear();
        }
        said.insert(key.to_owned())
    }
}

/// One for all that was injected, one for each thing that somebody should know was not.
fn tellings(namespace: &str, owner: &Owner, decisions: &[Decision]) -> Vec<Telling> {
    let mut tellings = Vec::new();
    let mut tell = |reason: &'static str, note: String, what: String| {
        let key = hash::of_text(&format!("{} {reason} {note} {what}", owner.uid));
        tellings.push(Telling {
            namespace: namespace.to_owned(),
            owner: owner.clone(),
            reason,
            is_warning: reason != INJECTED,
            note: within(&note, MAX_NOTE),
            key,
        });
    };
    let injected = decisions
        .iter()
        .filter(|decision| decision.verdict == Verdict::Injected);
    let names: Vec<String> = injected
        .clone()
        .map(|decision| {
            let source = decision.wanter().map(ToString::to_string);
            format!("`{}` ({})", decision.instance, source.unwrap_or_default())
        })
        .collect();
    if !names.is_empty() {
        // A new revision of a pattern is told again.
        let revisions = injected
            .filter_map(|decision| Some(decision.record.as_ref()?.revision.as_str()))
            .collect();
        tell(
            INJECTED,
            format!("injected {}", names.join(", ")),
            revisions,
        );
    }
    for decision in decisions {
        let is_news =
            !decision.warnings.is_empty() || decision.reason == Reason::NamespaceNotEnabled;
        if decision.verdict == Verdict::Skipped && is_news {
            let Decision {
                instance, sentence, ..
            } = decision;
            let note = format!("`{instance}` is not injected: {sentence}");
            tell(SKIPPED, note, String::new());
        }
    }
    tellings
}

/// At most so many bytes of a text, whatever its characters take.
fn within(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let longest = text.chars().map(char::len_utf8).max().unwrap_or(1);
    // The mark of what is left out takes some, too.
    excerpt(text, bytes / longest - 4)
}

const INJECTED: &str = "Injected";
const SKIPPED: &str = "InjectionSkipped";

/// Sends what there is to tell, for ever; `instance` is this replica's name.
pub(crate) async fn keep(client: Client, instance: String, mut tellings: Receiver<Telling>) {
    while let Some(telling) = tellings.recv().await {
        let api = Api::<Event>::namespaced(client.clone(), &telling.namespace);
        let event = event(&telling, &instance);
        match in_time(api.create(&PostParams::default(), &event)).await {
            Ok(_) => {}
            // Another replica said so, or the namespace is going.
            Err(kube::Error::Api(answer))
                if answer.is_already_exists()
                    || answer.is_not_found()
                    || answer.is_forbidden() && answer.message.contains("being terminated") => {}
            Err(error) => {
                let why = sentence(&error);
                tracing::warn!(
                    namespace = telling.namespace,
                    "an Event could not be sent: {why}"
                );
            }
        }
        sleep(PAUSE).await;
    }
}

fn event(telling: &Telling, instance: &str) -> Event {
    let Telling {
        namespace,
        owner,
        reason,
        is_warning,
        note,
        key,
    } = telling;
    let Owner {
        api_version,
        kind,
        name,
        uid,
    } = owner;
    // A name has at most 253 characters.
    let prefix: String = name.chars().take(230).collect();
    let prefix = prefix.trim_end_matches(['.', '-']);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}.{key}")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some(if *is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some((*reason).to_owned()),
        action: Some("Inject".to_owned()),
        note: Some(note.clone()),
        regarding: Some(ObjectReference {
            api_version: Some(api_version.clone()),
            kind: Some(kind.clone()),
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(keys::EVENT_REPORTER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Namespace};
    use crate::inject::{Context, inject};
    use serde_json::json;

    fn decisions(annotation: &str, label: &str) -> Vec<Decision> {
        let pod = json!({
            "metadata": {"annotations": {annotation: ""}, "labels": {"outrigger.dev/injection": label}},
            "spec": {"containers": [{"name": "app"}]},
        });
        let namespace = Namespace::default();
        let context = Context {
            namespace: &namespace,
            catalog: &Catalog::default(),
        };
        inject(pod.to_string().as_bytes(), &context)
            .unwrap()
            .decisions
    }

    fn owner(uid: &str) -> Owner {
        Owner {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name: "shop-1".to_owned(),
            uid: uid.to_owned(),
        }
    }

    #[test]
    fn an_owner_is_told_once_what_its_pods_get_and_do_not_get() {
        let (events, mut receiver) = Events::new(Counter::default());
        let injected = decisions("adapter.outrigger.dev/redis-metrics", "enabled");
        let skipped = decisions("adapter.outrigger.dev/redis-metrics", "disabled");
        for _ in 0..3 {
            events.tell("shop", &owner("u1"), &injected);
            events.tell("shop", &owner("u1"), &skipped);
        }
        events.tell("shop", &owner("u2"), &injected);
        let mut notes = Vec::new();
        while let Ok(telling) = receiver.try_recv() {
            let Event {
                reason,
                note,
                type_,
                ..
            } = event(&telling, "pod");
            notes.push(
                [reason, type_, note]
                    .map(Option::unwrap_or_default)
                    .join(" "),
            );
        }
        let injected = "Injected Normal injected `redis-metrics` (annotation `adapter.outrigger.dev/redis-metrics`)";
        let skipped =
            "InjectionSkipped Warning `redis-metrics` is not injected: the Pod's label opts it out";
        assert_eq!(notes, [injected, skipped, injected]);
    }

    #[test]
    fn who_tells_more_than_can_be_sent_does_not_wait() {
        let dropped = Counter::default();
        let (events, _receiver) = Events::new(dropped.clone());
        let injected = decisions("adapter.outrigger.dev/redis-metrics", "enabled");
        for number in 0..WAITING + 7 {
            events.tell("shop", &owner(&number.to_string()), &injected);
        }
        assert_eq!(dropped.get(), 7);
    }
}
