//! Interpose: which of the app's ports a pattern stands before, and who stands there already.
//!
//! ```text
//!  Service ─ targetPort: http ─▶ https:8443 ─▶ cache:8081 ─▶ app:8080
//!                                outermost,     innermost,    lost the name;
//!                                has the name   no name       probes have the number
//! ```
//!
//! Interposers are rendered from the innermost outwards, so each knows where to send what it lets through. A Service resolves a
//! name among the regular containers first (`pkg/api/v1/pod/util.go`, `FindPort`), so the app has to lose it; the kubelet looks a
//! probe's name up in the probe's own container only, so there the number takes its place.

use serde_json::Value;
use serde_json::value::RawValue;

use super::decision::Reason;
use super::draft::{Draft, NewContainer, Takeover, first_port};
use super::problem::Problem;
use crate::kubernetes::names::Instance;
use crate::kubernetes::pod::{Container, List, Slot};
use crate::pattern::Pattern;
use crate::text::{or_list, plain};

/// What a port is called that nobody has to name.
const USUAL_NAME: &str = "http";

/// Where an interposer sends what it lets through, and what it takes over.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// The port behind: the app's, or that of the interposer which stood in front so far.
    pub(crate) port: i64,
    /// The app's port that the chain stands before.
    pub(crate) origin: Origin,
    /// Who holds the name now and loses it.
    pub(crate) holder: Holder,
}

/// A port of an app container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) container: String,
    pub(crate) port: i64,
    pub(crate) name: Option<String>,
}

/// Who stands in front so far, and has to give the name up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A container of the Pod, the app or an interposer of an earlier injection: the index of its port, and the paths of its probes
    /// that use the name.
    Standing {
        slot: Slot,
        index: usize,
        probes: Vec<String>,
    },
    /// An instance of this very patch, by its index among the additions.
    Added(usize),
    /// Nobody declares the port: there is no name to give up.
    Undeclared,
}

/// Finds the port that `wanted`, a name or a number, means in the draft's Pod.
pub(crate) fn find(
    wanted: &Value,
    pattern: &Pattern,
    draft: &Draft<'_>,
) -> Result<Upstream, Problem> {
    if draft.pod.spec.host_network {
        return Err(Problem::new(
            Reason::HostNetwork,
            format!(
                "`{}` cannot stand before a port of a Pod with `hostNetwork: true`: everyone on the node reaches the app past it",
                pattern.name
            ),
        ));
    }
    let origin = origin(wanted, pattern, draft)?;
    if draft.declares_twice(&origin) {
        return Err(Problem::new(
            Reason::Conflict,
            format!(
                "container `{}` declares port {} twice: `{}` would not know which of them gives up its name",
                origin.container, origin.port, pattern.name
            ),
        ));
    }
    if let Some((index, listen)) = draft.front_added(&origin) {
        return Ok(Upstream {
            port: listen,
            origin,
            holder: Holder::Added(index),
        });
    }
    let (port, standing) = match draft.front_carried(&origin) {
        Some((instance, rank, _))
            if rank.is_some_and(|rank| {
                (rank, instance) <= (pattern.spec.rank, pattern.name.as_str())
            }) =>
        {
            return Err(Problem::new(
                Reason::Conflict,
                format!(
                    "`{}` belongs inside `{instance}`, which is injected already: take that out with `outrigger uninject`, then inject both",
                    pattern.name
                ),
            ));
        }
        Some((instance, _, interposed)) => (
            interposed.listen,
            draft.carried_port(instance, interposed.listen),
        ),
        None => (origin.port, draft.app_port(&origin)),
    };
    let holder = match standing {
        None => Holder::Undeclared,
        Some((slot, index)) => {
            let named = origin
                .name
                .as_deref()
                .and_then(|name| Some(probes(draft.container(slot)?, name)));
            Holder::Standing {
                slot,
                index,
                probes: named.unwrap_or_default(),
            }
        }
    };
    Ok(Upstream {
        port,
        origin,
        holder,
    })
}

/// The first container's first port takes the place of whoever stood in front, and its name.
pub(crate) fn take_over(
    draft: &Draft<'_>,
    upstream: Upstream,
    containers: &mut [NewContainer],
) -> Result<Takeover, Problem> {
    let Upstream {
        port: behind,
        origin,
        holder,
    } = upstream;
    let none = || {
        Problem::new(
            Reason::RenderFailed,
            "an interposer's first container has a first port",
        )
    };
    let port = first_port(containers)
        .and_then(Value::as_object_mut)
        .ok_or_else(none)?;
    let listen = port
        .get("containerPort")
        .and_then(Value::as_i64)
        .ok_or_else(none)?;
    if listen == origin.port {
        return Err(Problem::new(
            Reason::Conflict,
            format!(
                "it would listen on port {listen} and send what it gets to itself: choose another by a parameter"
            ),
        ));
    }
    if let Some(name) = &origin.name {
        let holds = |container: &Container<'_>| {
            container
                .ports
                .iter()
                .flatten()
                .any(|port| port.name.as_deref() == Some(name))
        };
        let gives_up = |slot: Slot, container: &Container<'_>| {
            container.name == origin.container.as_str()
                || matches!(&holder, Holder::Standing { slot: front, .. } if *front == slot)
        };
        if let Some((_, other)) = draft
            .pod
            .containers()
            .find(|(slot, container)| holds(container) && !gives_up(*slot, container))
        {
            return Err(Problem::new(
                Reason::Conflict,
                format!(
                    "container `{}` has a port called `{name}`, too: a Service would not know whom it means",
                    other.name
                ),
            ));
        }
        port.shift_insert(0, "name".to_owned(), Value::String(name.clone()));
    }
    Ok(Takeover {
        origin,
        holder,
        listen,
        upstream: behind,
    })
}

/// Instances of this patch that stand before a port without a name, each with what its user has to do: nobody can take a name over
/// for them. Of a chain, only the outermost.
pub(crate) fn unnamed<'d>(draft: &'d Draft<'_>) -> impl Iterator<Item = (&'d Instance, String)> {
    let behind = |index: usize| {
        draft.additions.iter().any(|added| matches!(&added.takeover, Some(Takeover { holder: Holder::Added(inner), .. }) if *inner == index))
    };
    draft.additions.iter().enumerate().filter(move |(index, _)| !behind(*index)).filter_map(|(_, added)| {
        let Takeover { origin, listen, .. } = added.takeover.as_ref().filter(|takeover| takeover.origin.name.is_none())?;
        let instance = &added.instance;
        let sentence = format!(
            "point the Service's targetPort at {listen}: `{instance}` listens there before port {}, which has no name",
            origin.port
        );
        Some((instance, sentence))
    })
}

/// By name, by number, else the main container's only port; where it declares none, the Pod's only one.
fn origin(wanted: &Value, pattern: &Pattern, draft: &Draft<'_>) -> Result<Origin, Problem> {
    let ports: Vec<Origin> = draft
        .apps()
        .filter(|(slot, _)| slot.list == List::Regular)
        .flat_map(|(_, container)| {
            container
                .ports
                .iter()
                .flatten()
                .filter(|port| {
                    port.protocol() == "TCP" && (1..=65535).contains(&port.container_port)
                })
                .map(|port| Origin {
                    container: container.name.to_string(),
                    port: port.container_port,
                    // A port that an earlier injection took over has lost its name; it goes by it still.
                    name: port
                        .name
                        .as_deref()
                        .map(str::to_owned)
                        .or_else(|| draft.lost_name(&container.name, port.container_port)),
                })
        })
        .collect();
    let none = |hint: String| {
        Problem::new(
            Reason::NoSuchPort,
            format!("`{}` finds no port to stand before: {hint}", pattern.name),
        )
    };
    if let Some(number) = wanted.as_i64() {
        if !(1..=65535).contains(&number) {
            return Err(none(format!(
                "`{number}` is out of range, expected 1 to 65535"
            )));
        }
        let main = || {
            draft
                .main()
                .and_then(|slot| draft.container(slot))
                .map(|container| container.name.to_string())
        };
        return match ports.into_iter().find(|origin| origin.port == number) {
            Some(origin) => Ok(origin),
            None => Ok(Origin {
                container: main().ok_or_else(|| none("the Pod has no app container".to_owned()))?,
                port: number,
                name: None,
            }),
        };
    }
    let anonymous = wanted.is_null();
    let wanted = if anonymous {
        USUAL_NAME.to_owned()
    } else {
        plain(wanted)
    };
    let mut named = ports
        .iter()
        .filter(|origin| origin.name.as_deref() == Some(&wanted));
    match (named.next(), named.next()) {
        (Some(origin), None) => return Ok(origin.clone()),
        (Some(one), Some(other)) => {
            return Err(Problem::new(
                Reason::Conflict,
                format!(
                    "the port name `{wanted}` is on two containers, `{}` and `{}`: a Service would reach the first whoever stands before it",
                    one.container, other.container
                ),
            ));
        }
        (None, _) => {}
    }
    let main = draft.main().and_then(|slot| draft.container(slot));
    let mut of_main = ports
        .iter()
        .filter(|origin| main.is_some_and(|main| main.name == origin.container));
    let only = match (of_main.next(), of_main.next(), ports.as_slice()) {
        (Some(origin), None, _) | (None, _, [origin]) => Some(origin),
        _ => None,
    };
    match only {
        // Whoever names a port means that one, not another name's.
        Some(origin) if anonymous || origin.name.is_none() => Ok(origin.clone()),
        _ if ports.is_empty() => Err(none(format!(
            "no app container declares one; declare `ports: [{{name: {wanted}, containerPort: …}}]` or give the number as a parameter"
        ))),
        _ => {
            let choices = ports.iter().map(|origin| {
                origin
                    .name
                    .clone()
                    .unwrap_or_else(|| origin.port.to_string())
            });
            Err(none(format!(
                "none is called `{wanted}`; name one as a parameter, {}",
                or_list(choices)
            )))
        }
    }
}

/// The container's fields that name the port, as paths within it.
fn probes(container: &Container<'_>, name: &str) -> Vec<String> {
    let handlers = [
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ];
    let mut found = Vec::new();
    for (field, raw) in handlers {
        handler(field, parse(raw), name, &mut found);
    }
    let lifecycle = parse(container.lifecycle);
    for hook in ["postStart", "preStop"] {
        handler(
            &format!("lifecycle/{hook}"),
            lifecycle.get(hook).cloned().unwrap_or_default(),
            name,
            &mut found,
        );
    }
    found
}

fn handler(path: &str, handler: Value, name: &str, found: &mut Vec<String>) {
    for action in ["httpGet", "tcpSocket"] {
        if handler
            .get(action)
            .and_then(|action| action.get("port"))
            .and_then(Value::as_str)
            == Some(name)
        {
            found.push(format!("{path}/{action}/port"));
        }
    }
}

fn parse(raw: Option<&RawValue>) -> Value {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}
