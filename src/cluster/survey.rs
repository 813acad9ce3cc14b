//! The cluster as somebody at a command line sees it: one look at everything, no watch. What the server would decide is decided by the
//! same function, and whether it would be asked by the same selectors and conditions as the API server's.

use std::collections::BTreeSet;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace as Full;
use kube::api::{Api, DynamicObject, ListParams, PartialObjectMeta};
use kube::{Client, ResourceExt as _};
use serde_json::Value;

use super::objects::{Kind, Objects};
use super::{bundle, resource};
use crate::binding::condition::{Condition, Subject};
use crate::binding::selector::Selector;
use crate::catalog::{Catalog, Namespace};
use crate::entries::Entry;
use crate::kubernetes::pod::Pod;
use crate::world::World;

/// How Outrigger is installed, as its webhook configurations tell.
#[derive(Debug)]
pub(crate) struct Installation {
    /// Its own namespace.
    pub(crate) home: String,
    /// The webhook configurations there are.
    pub(crate) entries: Vec<Configured>,
}

/// One webhook configuration.
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) entry: Entry,
    /// The object's name.
    pub(crate) name: String,
    /// False where the API server trusts no certificate of ours.
    pub(crate) has_bundle: bool,
    pub(crate) fails_open: bool,
    selector: Result<Selector, String>,
    conditions: Vec<(String, Option<Condition>)>,
}

/// Why the API server would not call by an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uncalled {
    pub(crate) name: String,
    pub(crate) why: String,
}

impl Installation {
    /// Finds it by the names of its webhooks, whatever the release is called.
    pub(crate) async fn find(client: &Client) -> anyhow::Result<Option<Self>> {
        let mut home = None;
        let mut entries = Vec::new();
        for kind in Entry::ALL
            .map(Entry::kind)
            .into_iter()
            .collect::<BTreeSet<_>>()
        {
            let api = Api::<DynamicObject>::all_with(client.clone(), &bundle::resource(kind));
            let found = api
                .list(&ListParams::default())
                .await
                .with_context(|| format!("{kind}s cannot be listed"))?;
            for object in found {
                for webhook in webhooks(&object) {
                    let ours = |entry: &Entry| {
                        entry.kind() == kind
                            && webhook.get("name").and_then(Value::as_str) == Some(&entry.webhook())
                    };
                    let Some(entry) = Entry::ALL.into_iter().find(ours) else {
                        continue;
                    };
                    let service = webhook.pointer("/clientConfig/service/namespace");
                    home = home.or(service.and_then(Value::as_str).map(str::to_owned));
                    let name = object.metadata.name.clone().unwrap_or_default();
                    entries.push(Configured::read(entry, name, webhook));
                }
            }
        }
        Ok(home.map(|home| Self { home, entries }))
    }

    /// Whether bindings of its own namespace are for the cluster: there is an entry for them.
    pub(crate) fn is_cluster_wide(&self) -> bool {
        self.entries
            .iter()
            .any(|configured| configured.entry == Entry::Cluster)
    }

    /// The entry by which the API server would call us for a Pod, or why not by any.
    pub(crate) fn called(
        &self,
        pod: &Pod<'_>,
        namespace: &Namespace,
    ) -> Result<Entry, Vec<Uncalled>> {
        let subject = Subject::new(pod, namespace);
        let mut uncalled = Vec::new();
        for configured in &self.entries {
            if configured.entry == Entry::Advise {
                continue;
            }
            match configured.obstacle(&subject, namespace) {
                None => return Ok(configured.entry),
                Some(why) => uncalled.push(Uncalled {
                    name: configured.name.clone(),
                    why,
                }),
            }
        }
        Err(uncalled)
    }
}

impl Configured {
    fn read(entry: Entry, name: String, webhook: &Value) -> Self {
        let text = |value: &Value, field: &str| {
            value
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let selector = match webhook.get("namespaceSelector") {
            None | Some(Value::Null) => Ok(Selector::default()),
            Some(selector) => {
                serde_json::from_value(selector.clone()).map_err(|error| error.to_string())
            }
        };
        let conditions = webhook.get("matchConditions").and_then(Value::as_array);
        let bundle = webhook
            .pointer("/clientConfig/caBundle")
            .and_then(Value::as_str);
        Self {
            entry,
            name,
            has_bundle: bundle.is_some_and(|bundle| !bundle.is_empty()),
            fails_open: text(webhook, "failurePolicy") == "Ignore",
            selector,
            conditions: conditions
                .into_iter()
                .flatten()
                .map(|condition| {
                    let (name, expression) =
                        (text(condition, "name"), text(condition, "expression"));
                    let compiled = Condition::compile(&name, &expression).ok();
                    (name, compiled)
                })
                .collect(),
        }
    }

    fn obstacle(&self, subject: &Subject<'_>, namespace: &Namespace) -> Option<String> {
        match &self.selector {
            Err(error) => return Some(format!("its namespaceSelector cannot be read: {error}")),
            Ok(selector) if !selector.matches(|key| namespace.label(key)) => {
                return Some(format!(
                    "its namespaceSelector does not select namespace `{}`",
                    namespace.name
                ));
            }
            Ok(_) => {}
        }
        self.conditions.iter().find_map(|(name, condition)| {
            let verdict = condition
                .as_ref()
                .map(|condition| subject.satisfies(condition));
            match verdict {
                Some(Some(true)) => None,
                Some(Some(false)) => {
                    Some(format!("its matchCondition `{name}` is false for the Pod"))
                }
                Some(None) => Some(format!("its matchCondition `{name}` fails for the Pod")),
                None => Some(format!(
                    "its matchCondition `{name}` is one that only an API server can judge"
                )),
            }
        })
    }
}

/// Everything that decides, as it is now. What is wrong with an object is in the second part, a sentence each.
pub(crate) async fn world(
    client: &Client,
    installation: &Installation,
    image_registry: Option<&str>,
) -> anyhow::Result<(World, Vec<String>)> {
    let Installation { home, .. } = installation;
    let cluster_wide = installation.is_cluster_wide();
    let objects = Objects::new(home);
    let namespaces = Api::<PartialObjectMeta<Full>>::all(client.clone())
        .list(&ListParams::default())
        .await
        .context("Namespaces cannot be listed")?;
    let mut names = BTreeSet::new();
    for namespace in namespaces {
        names.insert((String::new(), namespace.name_any()));
        objects.put_namespace(namespace.metadata);
    }
    objects.listed(Kind::Namespace, &names);
    for kind in [Kind::Pattern, Kind::Binding] {
        let found = Api::<DynamicObject>::all_with(client.clone(), &resource(kind.name()))
            .list(&ListParams::default())
            .await
            .with_context(|| format!("{}s cannot be listed", kind.name()))?;
        let mut names = BTreeSet::new();
        for object in found {
            names.insert((object.namespace().unwrap_or_default(), object.name_any()));
            objects.put(kind, &object);
        }
        objects.listed(kind, &names);
    }
    let mut catalog = Catalog::at(home);
    catalog.cluster_wide = cluster_wide;
    catalog.image_registry = image_registry.map(str::to_owned);
    let mut world = World::of(catalog);
    objects.take_changed();
    objects.items().into_iter().for_each(|item| world.add(item));
    objects.judge(&world.catalog);
    Ok((world, objects.complaints()))
}

fn webhooks(object: &DynamicObject) -> impl Iterator<Item = &Value> {
    object
        .data
        .get("webhooks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
