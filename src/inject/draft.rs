//! The draft: the Pod, what it carries, and what this patch adds so far.

use std::collections::BTreeMap;

use serde_json::Value;

use super::decide::Candidate;
use super::interpose::{Holder, Origin};
use super::status::{Interposed, Record, Status};
use crate::keys;
use crate::kubernetes::names::Instance;
use crate::kubernetes::pod::{Container, List, Pod, Port, Slot};

/// The Pod, what it carries, and what this patch adds so far.
#[derive(Debug)]
pub(crate) struct Draft<'p> {
    pub(crate) pod: &'p Pod<'p>,
    pub(crate) additions: Vec<Additions>,
    /// What the status records, with the rank of each pattern that is still known.
    pub(crate) carried: Status,
    pub(crate) ranks: BTreeMap<String, i32>,
    /// At load there is no Pod yet: every type is checked, and a volume that a parameter names is taken to be there.
    pub(crate) trial: bool,
}

/// What one instance adds.
#[derive(Debug)]
pub(crate) struct Additions {
    pub(crate) instance: Instance,
    pub(crate) rank: i32,
    pub(crate) containers: Vec<NewContainer>,
    pub(crate) volumes: Vec<Value>,
    pub(crate) image_pull_secrets: Vec<Value>,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) apps: Vec<AppAdditions>,
    pub(crate) takeover: Option<Takeover>,
    pub(crate) record: Record,
    pub(crate) warnings: Vec<String>,
}

/// A container to add.
#[derive(Debug)]
pub(crate) struct NewContainer {
    pub(crate) list: List,
    pub(crate) first: bool,
    pub(crate) value: Value,
}

/// What one instance adds to one app container.
#[derive(Debug)]
pub(crate) struct AppAdditions {
    pub(crate) slot: Slot,
    pub(crate) container: String,
    pub(crate) env: Vec<Value>,
    pub(crate) mounts: Vec<Value>,
}

/// What interpose changes in the Pod as it was.
#[derive(Debug)]
pub(crate) struct Takeover {
    pub(crate) origin: Origin,
    pub(crate) holder: Holder,
    pub(crate) listen: i64,
    pub(crate) upstream: i64,
}

impl<'p> Draft<'p> {
    pub(crate) fn new(pod: &'p Pod<'p>, carried: Status) -> Self {
        Self {
            pod,
            additions: Vec::new(),
            carried,
            ranks: BTreeMap::new(),
            trial: false,
        }
    }

    /// Notes the ranks of patterns that carried instances are made of, as far as a candidate still names them.
    pub(crate) fn know_ranks(&mut self, candidates: &[Candidate]) {
        self.ranks = candidates
            .iter()
            .map(|candidate| (candidate.instance.to_string(), candidate.pattern.spec.rank))
            .collect();
    }

    /// The containers that the user wrote: not ours, not another injector's.
    pub(crate) fn apps(&self) -> impl Iterator<Item = (Slot, &'p Container<'p>)> {
        self.pod.containers().filter(|(_, container)| {
            !keys::FOREIGN_CONTAINERS.contains(&&*container.name)
                && !self.carried.has_container(&container.name)
        })
    }

    /// The main app container: the one that the Pod names, else the first.
    pub(crate) fn main(&self) -> Option<Slot> {
        let mut regular = self.apps().filter(|(slot, _)| slot.list == List::Regular);
        let named = self.pod.annotation(keys::DEFAULT_CONTAINER);
        let named = named.and_then(|name| {
            self.apps()
                .find(|(slot, container)| slot.list == List::Regular && container.name == name)
        });
        named.or_else(|| regular.next()).map(|(slot, _)| slot)
    }

    pub(crate) fn container(&self, slot: Slot) -> Option<&'p Container<'p>> {
        match slot.list {
            List::Regular => self.pod.spec.containers.get(slot.index),
            List::Init => self.pod.spec.init_containers.as_ref()?.get(slot.index),
        }
    }

    /// True where the Pod has resources of its own, for all its containers (KEP-2837).
    pub(crate) fn has_pod_resources(&self) -> bool {
        self.pod
            .spec
            .resources
            .is_some_and(|raw| !matches!(raw.get().trim(), "null" | "{}"))
    }

    /// Every declared port number, the Pod's and the additions'.
    pub(crate) fn port_numbers(&self) -> Vec<i64> {
        let pod = self.pod.containers().flat_map(|(_, container)| {
            container
                .ports
                .iter()
                .flatten()
                .map(|port| port.container_port)
        });
        let added = self.additions.iter().flat_map(|added| {
            let given = added.record.ports.values().map(|port| i64::from(*port));
            added
                .containers
                .iter()
                .flat_map(|container| ports(&container.value))
                .filter_map(|port| port.get("containerPort")?.as_i64())
                .chain(given)
        });
        let carried = self
            .carried
            .instances
            .values()
            .flat_map(|record| record.ports.values().map(|port| i64::from(*port)));
        pod.chain(added).chain(carried).collect()
    }

    /// The interposer of this patch that stands in front of `origin`: its index and port.
    pub(crate) fn front_added(&self, origin: &Origin) -> Option<(usize, i64)> {
        self.additions
            .iter()
            .enumerate()
            .rev()
            .find_map(|(index, added)| {
                let takeover = added
                    .takeover
                    .as_ref()
                    .filter(|takeover| takeover.origin == *origin)?;
                Some((index, takeover.listen))
            })
    }

    /// The carried interposer that stands in front of `origin`: the one that is nobody's upstream.
    pub(crate) fn front_carried(
        &self,
        origin: &Origin,
    ) -> Option<(&str, Option<i32>, &Interposed)> {
        let chain: Vec<_> = self
            .carried
            .instances
            .iter()
            .filter_map(|(name, record)| {
                record
                    .interpose
                    .as_ref()
                    .map(|interposed| (name, interposed))
            })
            .filter(|(_, interposed)| {
                interposed.container == origin.container && interposed.port == origin.port
            })
            .collect();
        let front = chain.iter().find(|(_, interposed)| {
            !chain
                .iter()
                .any(|(_, other)| other.upstream == interposed.listen)
        })?;
        Some((front.0, self.ranks.get(front.0).copied(), front.1))
    }

    /// Where a carried instance declares the port it listens on.
    pub(crate) fn carried_port(&self, instance: &str, number: i64) -> Option<(Slot, usize)> {
        let record = self.carried.instances.get(instance)?;
        let mut own = self
            .pod
            .containers()
            .filter(|(_, container)| record.containers.iter().any(|name| *name == container.name));
        own.find_map(|(slot, container)| Some((slot, tcp_port(container, number)?)))
    }

    /// Where the app declares the port.
    pub(crate) fn app_port(&self, origin: &Origin) -> Option<(Slot, usize)> {
        let (slot, app) = self
            .apps()
            .find(|(_, container)| container.name == origin.container.as_str())?;
        Some((slot, tcp_port(app, origin.port)?))
    }

    /// True if the app declares the port more than once, which the API server only warns of.
    pub(crate) fn declares_twice(&self, origin: &Origin) -> bool {
        let is_it =
            |port: &&Port<'_>| port.protocol() == "TCP" && port.container_port == origin.port;
        self.apps()
            .filter(|(_, container)| container.name == origin.container.as_str())
            .any(|(_, container)| container.ports.iter().flatten().filter(is_it).count() > 1)
    }

    /// The name that an app's port had before it was taken over.
    pub(crate) fn lost_name(&self, container: &str, port: i64) -> Option<String> {
        let interposed = self
            .carried
            .instances
            .values()
            .filter_map(|record| record.interpose.as_ref());
        interposed
            .filter(|interposed| interposed.container == container && interposed.port == port)
            .find_map(|interposed| interposed.name.clone())
    }

    /// Takes the additions in; an interposer that was in front so far hands its port's name over.
    pub(crate) fn commit(&mut self, additions: Additions) {
        if let Some(Takeover {
            holder: Holder::Added(index),
            origin,
            ..
        }) = &additions.takeover
            && origin.name.is_some()
            && let Some(inner) = self.additions.get_mut(*index)
        {
            inner
                .containers
                .iter_mut()
                .find(|container| ports(&container.value).next().is_some())
                .into_iter()
                .for_each(lose_name);
        }
        self.additions.push(additions);
    }

    /// The status with everything in it, by instance.
    pub(crate) fn status(&self) -> Status {
        let mut status = self.carried.clone();
        for added in &self.additions {
            status
                .instances
                .insert(added.instance.to_string(), added.record.clone());
        }
        status
    }
}

impl Takeover {
    /// What uninject has to give back to the app, and how the chain runs.
    pub(crate) fn record(&self, draft: &Draft<'_>) -> Interposed {
        let Self {
            origin,
            holder,
            listen,
            upstream,
        } = self;
        let probes = match holder {
            Holder::Standing { slot, probes, .. }
                if draft
                    .container(*slot)
                    .is_some_and(|app| app.name == origin.container) =>
            {
                probes.clone()
            }
            _ => Vec::new(),
        };
        Interposed {
            container: origin.container.clone(),
            port: origin.port,
            name: origin.name.clone(),
            listen: *listen,
            upstream: *upstream,
            probes,
        }
    }
}

/// The ports of a container in JSON.
pub(crate) fn ports(container: &Value) -> impl Iterator<Item = &Value> {
    container
        .get("ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Where a container declares a TCP port of that number.
fn tcp_port(container: &Container<'_>, number: i64) -> Option<usize> {
    container
        .ports
        .iter()
        .flatten()
        .position(|port| port.container_port == number && port.protocol() == "TCP")
}

/// Takes the name off the container's first port; its own probes and hooks that used it get the number.
fn lose_name(container: &mut NewContainer) {
    let Some(Value::Object(port)) = container
        .value
        .get_mut("ports")
        .and_then(|ports| ports.get_mut(0))
    else {
        return;
    };
    let (Some(name), Some(number)) = (
        port.shift_remove("name"),
        port.get("containerPort").cloned(),
    ) else {
        return;
    };
    let handlers = [
        "/startupProbe",
        "/livenessProbe",
        "/readinessProbe",
        "/lifecycle/postStart",
        "/lifecycle/preStop",
    ];
    for handler in handlers {
        for action in ["httpGet", "tcpSocket"] {
            if let Some(port) = container
                .value
                .pointer_mut(&format!("{handler}/{action}/port"))
                && *port == name
            {
                *port = number.clone();
            }
        }
    }
}

pub(crate) fn first_port(containers: &mut [NewContainer]) -> Option<&mut Value> {
    containers
        .iter_mut()
        .find_map(|container| container.value.get_mut("ports")?.get_mut(0))
}
