//! The API server's rules for Pods that an injector can break, written a second time from its documentation
//! (`pkg/apis/core/validation`), so that our own check is not judged by itself.

use std::collections::BTreeSet;

use outrigger::kubernetes::quantity::Quantity;
use serde_json::Value;

/// Every rule that `pod` breaks; `added` are the names of the containers that we put in.
pub(super) fn violations(pod: &Value, added: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    names(pod, &mut found);
    for container in containers(pod) {
        mounts(pod, container, &mut found);
        ports(container, &mut found);
        env(container, &mut found);
        if added.contains(name(container)) {
            resources(pod, container, &mut found);
            probes(pod, container, &mut found);
        }
    }
    shared_ports(pod, added, &mut found);
    native_sidecars(pod, &mut found);
    annotations(pod, &mut found);
    found
}

/// Regular and init containers.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| items(&pod["spec"], list))
}

/// A list's items; none where it is absent or null.
pub(super) fn items<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// An object's name.
pub(super) fn name(object: &Value) -> &str {
    object
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|byte| inner(byte) || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn names(pod: &Value, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for container in containers(pod) {
        if !label(name(container)) || !seen.insert(name(container)) {
            found.push(format!("container name `{}`", name(container)));
        }
    }
    let mut seen = BTreeSet::new();
    for volume in items(&pod["spec"], "volumes") {
        if !label(name(volume)) || !seen.insert(name(volume)) {
            found.push(format!("volume name `{}`", name(volume)));
        }
    }
}

fn mounts(pod: &Value, container: &Value, found: &mut Vec<String>) {
    let mut paths: BTreeSet<&str> = items(container, "volumeDevices")
        .filter_map(|device| device["devicePath"].as_str())
        .collect();
    for mount in items(container, "volumeMounts") {
        let path = mount["mountPath"].as_str().unwrap_or_default();
        if path.is_empty() || path.contains(':') || !paths.insert(path) {
            found.push(format!("mount path `{path}` of `{}`", name(container)));
        }
        if !items(&pod["spec"], "volumes").any(|volume| name(volume) == name(mount)) {
            found.push(format!(
                "mount of `{}`, which is no volume, in `{}`",
                name(mount),
                name(container)
            ));
        }
    }
}

fn ports(container: &Value, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for port in items(container, "ports") {
        if !port["containerPort"]
            .as_i64()
            .is_some_and(|number| (1..=65535).contains(&number))
        {
            found.push(format!("port {port} of `{}`", name(container)));
        }
        let called = name(port);
        let fits = called.len() <= 15
            && label(called)
            && !called.contains("--")
            && called.bytes().any(|byte| byte.is_ascii_lowercase());
        if !called.is_empty() && (!fits || !seen.insert(called)) {
            found.push(format!("port name `{called}` of `{}`", name(container)));
        }
    }
}

fn env(container: &Value, found: &mut Vec<String>) {
    for entry in items(container, "env") {
        let called = name(entry);
        if called.is_empty()
            || called.contains('=')
            || !called.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        {
            found.push(format!("variable `{called}` of `{}`", name(container)));
        }
        if entry.get("valueFrom").is_some_and(|from| !from.is_null())
            && entry["value"]
                .as_str()
                .is_some_and(|value| !value.is_empty())
        {
            found.push(format!(
                "variable `{called}` of `{}` has two values",
                name(container)
            ));
        }
        if entry
            .get("value")
            .is_some_and(|value| !value.is_string() && !value.is_null())
        {
            found.push(format!(
                "variable `{called}` of `{}` is no string",
                name(container)
            ));
        }
    }
}

fn amount(resources: &Value, kind: &str, resource: &str) -> Option<Quantity> {
    Some(
        resources
            .get(kind)?
            .get(resource)?
            .as_str()?
            .parse()
            .expect("a quantity"),
    )
}

/// Requests within limits, and limits within the Pod's own.
fn resources(pod: &Value, container: &Value, found: &mut Vec<String>) {
    let own = &container["resources"];
    for resource in ["cpu", "memory"] {
        let limit = amount(own, "limits", resource);
        let request = amount(own, "requests", resource).or(limit);
        if limit.is_some_and(|limit| request > Some(limit)) {
            found.push(format!(
                "{resource} request above the limit in `{}`",
                name(container)
            ));
        }
        let pods = amount(&pod["spec"]["resources"], "limits", resource);
        if pods.is_some_and(|pods| limit > Some(pods)) {
            found.push(format!(
                "{resource} limit of `{}` above the Pod's",
                name(container)
            ));
        }
    }
}

/// One handler each, and a port that the kubelet can resolve: it looks a name up in the probe's own container.
fn probes(pod: &Value, container: &Value, found: &mut Vec<String>) {
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(field).filter(|probe| !probe.is_null()) else {
            continue;
        };
        let handlers = ["exec", "httpGet", "tcpSocket", "grpc"]
            .iter()
            .filter(|handler| probe.get(**handler).is_some())
            .count();
        if handlers != 1 {
            found.push(format!(
                "{field} of `{}` has {handlers} handlers",
                name(container)
            ));
        }
        let port = ["httpGet", "tcpSocket"]
            .iter()
            .find_map(|handler| probe.get(*handler)?.get("port")?.as_str());
        if let Some(port) = port
            && !items(container, "ports").any(|own| name(own) == port)
        {
            found.push(format!(
                "{field} of `{}` asks port `{port}`, which it does not have",
                name(container)
            ));
        }
    }
    let grace = pod["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(30);
    let sleep = container
        .pointer("/lifecycle/preStop/sleep/seconds")
        .and_then(Value::as_i64);
    if sleep.is_some_and(|seconds| seconds < 1 || seconds > grace) {
        found.push(format!(
            "preStop of `{}` sleeps longer than the grace period",
            name(container)
        ));
    }
}

fn listens(container: &Value) -> impl Iterator<Item = (i64, &str)> {
    items(container, "ports").map(|port| {
        let protocol = port["protocol"]
            .as_str()
            .filter(|protocol| !protocol.is_empty());
        (
            port["containerPort"].as_i64().unwrap_or_default(),
            protocol.unwrap_or("TCP"),
        )
    })
}

/// Containers of a Pod share one network: what ours listens on, nobody else does.
fn shared_ports(pod: &Value, added: &BTreeSet<String>, found: &mut Vec<String>) {
    for ours in containers(pod).filter(|container| added.contains(name(container))) {
        for other in containers(pod).filter(|other| name(other) != name(ours)) {
            found.extend(
                listens(ours)
                    .filter(|port| listens(other).any(|theirs| theirs == *port))
                    .map(|(number, protocol)| {
                        format!(
                            "port {number}/{protocol} of `{}` is `{}`'s, too",
                            name(ours),
                            name(other)
                        )
                    }),
            );
        }
    }
}

fn native_sidecars(pod: &Value, found: &mut Vec<String>) {
    for container in items(&pod["spec"], "containers") {
        if container.get("restartPolicy").is_some() {
            found.push(format!(
                "regular container `{}` has a restartPolicy",
                name(container)
            ));
        }
    }
    for container in items(&pod["spec"], "initContainers") {
        match container.get("restartPolicy").and_then(Value::as_str) {
            Some("Always") => {}
            Some(other) => found.push(format!(
                "init container `{}` has restartPolicy `{other}`",
                name(container)
            )),
            None => found.extend(
                [
                    "livenessProbe",
                    "readinessProbe",
                    "startupProbe",
                    "lifecycle",
                ]
                .iter()
                .filter(|field| container.get(**field).is_some())
                .map(|field| format!("init container `{}` has a {field}", name(container))),
            ),
        }
    }
}

fn annotations(pod: &Value, found: &mut Vec<String>) {
    let annotations = pod["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten();
    let total: usize = annotations
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if total > 256 * 1024 {
        found.push(format!("annotations of {total} bytes"));
    }
}
