//! The watches: list, then follow, then list again when the thread is lost. Nothing is dropped while the API server is away.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher::{self, Config, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, ResourceExt};

use super::objects::{Kind, Objects};
use super::resource;

/// Follows everything, for ever.
pub(crate) async fn keep(client: Client, objects: Arc<Objects>) {
    let config = || Config::default().any_semantic();
    let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let custom = |kind: Kind| {
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource(kind.name()));
        follow(
            watch(api, config()),
            kind,
            &objects,
            move |objects, object: DynamicObject| {
                objects.put(kind, &object);
            },
        )
    };
    tokio::join!(
        follow(
            watch(namespaces, config()),
            Kind::Namespace,
            &objects,
            |objects, object: PartialObjectMeta<Namespace>| objects.put_namespace(object.metadata),
        ),
        custom(Kind::Pattern),
        custom(Kind::Binding),
    );
}

/// One watch: `put` takes what is new.
async fn follow<K: ResourceExt + Debug>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    kind: Kind,
    objects: &Objects,
    put: impl Fn(&Objects, K),
) {
    let mut events = std::pin::pin!(events.default_backoff());
    let mut seen = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                // It says so before it asks.
                if !matches!(event, Event::Init) && objects.trouble(kind, None) {
                    tracing::info!(kind = kind.name(), "watched again");
                }
                match event {
                    Event::Init => seen.clear(),
                    Event::InitApply(object) => {
                        seen.insert(names(object.meta()));
                        put(objects, object);
                    }
                    Event::InitDone => objects.listed(kind, &std::mem::take(&mut seen)),
                    Event::Apply(object) => put(objects, object),
                    Event::Delete(object) => objects.remove(kind, object.meta()),
                }
            }
            Err(error) => {
                let trouble = super::chain(&error);
                if objects.trouble(kind, Some(trouble.clone())) {
                    tracing::warn!(kind = kind.name(), "not watched: {trouble}");
                }
            }
        }
    }
}

fn names(metadata: &ObjectMeta) -> (String, String) {
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}
