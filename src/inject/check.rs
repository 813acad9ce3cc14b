//! Check: the Pod as it would be, against the rules that additions can break.
//!
//! A patch whose result is invalid fails the create whatever the failurePolicy, so none may leave. The rules are the API server's
//! (`pkg/apis/core/validation/validation.go`); what the user wrote himself is left for it to judge.

use std::collections::BTreeSet;

use serde_json::Value;

use super::decision::Reason;
use super::merge::{Additions, Draft, ports};
use super::problem::Problem;
use crate::names::{dns_label, label_value, port_name};
use crate::pattern::plain;
use crate::pod::Pod;
use crate::quantity::Quantity;
use crate::text::excerpt;

/// All annotations of an object, keys and values (`TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS: usize = 256 * 1024;
/// The grace period of a Pod that names none, in seconds (`DefaultTerminationGracePeriodSeconds`).
const DEFAULT_GRACE: i64 = 30;
/// What a variable may take from the Pod (`validEnvDownwardAPIFieldPathExpressions`).
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Holds the additions against the rules, each container by itself first, then the Pod as a whole.
pub(crate) fn check(draft: &Draft<'_>, additions: &Additions) -> Result<(), Problem> {
    for container in &additions.containers {
        container_rules(&container.value, draft, additions)?;
    }
    ports_are_free(draft, additions)?;
    for volume in &additions.volumes {
        one_source(volume)?;
    }
    if let Some((key, value)) = additions
        .labels
        .iter()
        .find(|(_, value)| !label_value(value))
    {
        return Err(invalid(format!(
            "label `{key}` would be `{}`, expected at most 63 letters, digits, `-`, `_` or `.`",
            excerpt(value, 70)
        )));
    }
    annotations_fit(draft, additions)
}

fn invalid(sentence: String) -> Problem {
    Problem::new(Reason::InvalidResult, sentence)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn container_rules(
    container: &Value,
    draft: &Draft<'_>,
    additions: &Additions,
) -> Result<(), Problem> {
    let name = text(container, "name");
    let wrong = |what: String| invalid(format!("container `{name}`: {what}"));
    if !dns_label(name) {
        return Err(wrong(
            "the name is no DNS label of at most 63 characters".to_owned(),
        ));
    }
    let image = text(container, "image");
    if image.is_empty() || image.trim() != image {
        return Err(wrong(format!(
            "the image is `{}`, expected a reference without spaces around it",
            excerpt(image, 80)
        )));
    }
    let policy = text(container, "imagePullPolicy");
    if !["", "Always", "IfNotPresent", "Never"].contains(&policy) {
        return Err(wrong(format!(
            "imagePullPolicy is `{policy}`, expected `Always`, `IfNotPresent` or `Never`"
        )));
    }
    port_rules(container).map_err(wrong)?;
    env_rules(container).map_err(wrong)?;
    mount_rules(container, draft.pod, additions).map_err(wrong)?;
    resource_rules(container).map_err(wrong)?;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if let Some(value) = container.get(probe) {
            probe_rules(probe, value, container).map_err(wrong)?;
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(value) = container
            .get("lifecycle")
            .and_then(|lifecycle| lifecycle.get(hook))
        {
            hook_rules(hook, value, draft.pod).map_err(wrong)?;
        }
    }
    Ok(())
}

fn port_rules(container: &Value) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for port in ports(container) {
        let number = port
            .get("containerPort")
            .and_then(Value::as_i64)
            .unwrap_or_default();
        if !(1..=65535).contains(&number) {
            return Err(format!(
                "port `{number}` is out of range, expected 1 to 65535"
            ));
        }
        let Some(name) = port.get("name").and_then(Value::as_str) else {
            continue;
        };
        if !port_name(name) {
            return Err(format!(
                "port name `{}`, expected at most 15 of a-z, 0-9 and `-`, with a letter",
                excerpt(name, 40)
            ));
        }
        if !names.insert(name) {
            return Err(format!("two ports are called `{name}`"));
        }
    }
    Ok(())
}

fn env_rules(container: &Value) -> Result<(), String> {
    for entry in items(container, "env") {
        let name = text(entry, "name");
        if name.is_empty()
            || name.contains('=')
            || !name
                .chars()
                .all(|character| (' '..='~').contains(&character))
        {
            return Err(format!(
                "variable name `{}`, expected printable ASCII without `=`",
                excerpt(name, 40)
            ));
        }
        let Some(from) = entry.get("valueFrom") else {
            continue;
        };
        if !text(entry, "value").is_empty() {
            return Err(format!(
                "variable `{name}` has both `value` and `valueFrom`"
            ));
        }
        if let Some(path) = from
            .get("fieldRef")
            .map(|reference| text(reference, "fieldPath"))
        {
            let keyed = ["metadata.annotations['", "metadata.labels['"]
                .iter()
                .any(|prefix| path.starts_with(prefix) && path.ends_with("']"));
            if !keyed && !ENV_FIELDS.contains(&path) {
                return Err(format!(
                    "variable `{name}` takes `{}`, which the downward API does not give",
                    excerpt(path, 60)
                ));
            }
        }
    }
    Ok(())
}

fn mount_rules(container: &Value, pod: &Pod<'_>, additions: &Additions) -> Result<(), String> {
    let mut paths = BTreeSet::new();
    for mount in items(container, "volumeMounts") {
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        let known = additions
            .volumes
            .iter()
            .any(|volume| text(volume, "name") == name)
            || additions.record.volumes.iter().any(|volume| volume == name)
            || pod
                .spec
                .volumes
                .iter()
                .flatten()
                .any(|volume| volume.name == name);
        if !known {
            return Err(format!("`{name}` is mounted but is no volume"));
        }
        if path.is_empty() || path.contains(':') {
            return Err(format!(
                "mount path `{}`, expected a path without `:`",
                excerpt(path, 60)
            ));
        }
        if !paths.insert(path) {
            return Err(format!("two volumes are mounted at {path}"));
        }
    }
    Ok(())
}

fn resource_rules(container: &Value) -> Result<(), String> {
    let Some(resources) = container.get("resources") else {
        return Ok(());
    };
    let amounts = |kind: &str| {
        resources
            .get(kind)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    };
    let read = |value: &Value| {
        plain(value)
            .parse::<Quantity>()
            .map_err(|error| format!("resources: {error}"))
    };
    for (name, value) in amounts("limits").chain(amounts("requests")) {
        if read(value)? < Quantity::default() {
            return Err(format!(
                "resources: {name} is `{}`, expected at least 0",
                plain(value)
            ));
        }
    }
    for (name, request) in amounts("requests") {
        if let Some((_, limit)) = amounts("limits").find(|(other, _)| *other == name)
            && read(request)? > read(limit)?
        {
            return Err(format!(
                "resources: the {name} request `{}` is above the limit `{}`",
                plain(request),
                plain(limit)
            ));
        }
    }
    Ok(())
}

const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];

fn probe_rules(field: &str, probe: &Value, container: &Value) -> Result<(), String> {
    if HANDLERS
        .iter()
        .filter(|handler| probe.get(**handler).is_some())
        .count()
        != 1
    {
        return Err(format!(
            "{field} has not exactly one of exec, httpGet, tcpSocket and grpc"
        ));
    }
    let successes = probe
        .get("successThreshold")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    if field != "readinessProbe" && successes != 1 {
        return Err(format!(
            "{field} has successThreshold {successes}, expected 1"
        ));
    }
    if field == "readinessProbe" && probe.get("terminationGracePeriodSeconds").is_some() {
        return Err("readinessProbe may not set terminationGracePeriodSeconds".to_owned());
    }
    probed_port(field, probe, container)
}

/// The kubelet looks a name up in the probe's own container. A startup probe of a native sidecar holds the app back, so it may
/// only ask the sidecar itself.
fn probed_port(field: &str, probe: &Value, container: &Value) -> Result<(), String> {
    let port = ["httpGet", "tcpSocket", "grpc"]
        .iter()
        .find_map(|handler| probe.get(*handler)?.get("port"));
    let Some(port) = port else { return Ok(()) };
    let native = container.get("restartPolicy").is_some();
    let own = ports(container)
        .any(|own| own.get("name") == Some(port) || own.get("containerPort") == Some(port));
    match port {
        Value::String(name) if !own => Err(format!(
            "{field} asks the port `{name}`, which this container does not have"
        )),
        Value::Number(number) if !own && native && field == "startupProbe" => Err(format!(
            "startupProbe asks port {number}, which this container does not declare: if it is the app's, the Pod hangs, since the app starts after this container"
        )),
        _ => Ok(()),
    }
}

fn hook_rules(field: &str, hook: &Value, pod: &Pod<'_>) -> Result<(), String> {
    if ["exec", "httpGet", "tcpSocket", "sleep"]
        .iter()
        .filter(|handler| hook.get(**handler).is_some())
        .count()
        != 1
    {
        return Err(format!(
            "lifecycle.{field} has not exactly one of exec, httpGet and sleep"
        ));
    }
    let Some(seconds) = hook
        .get("sleep")
        .and_then(|sleep| sleep.get("seconds"))
        .and_then(Value::as_i64)
    else {
        return Ok(());
    };
    let grace = pod
        .spec
        .termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE);
    if seconds < 1 || seconds > grace {
        return Err(format!(
            "lifecycle.{field} sleeps {seconds} s, expected 1 to the Pod's terminationGracePeriodSeconds, {grace}"
        ));
    }
    Ok(())
}

/// Containers of a Pod share one network: a number, and for a Service a name, belongs to one of them.
fn ports_are_free(draft: &Draft<'_>, additions: &Additions) -> Result<(), Problem> {
    let mut taken: Vec<(String, i64, String, Option<String>)> = Vec::new();
    for (_, container) in draft.pod.containers() {
        for port in container.ports.iter().flatten() {
            taken.push((
                container.name.to_string(),
                port.container_port,
                port.protocol().to_owned(),
                port.name.as_deref().map(str::to_owned),
            ));
        }
    }
    let added = draft
        .additions
        .iter()
        .flat_map(|added| &added.containers)
        .map(|container| &container.value);
    for container in added {
        take(container, &mut taken);
    }
    let given_up = additions
        .takeover
        .as_ref()
        .and_then(|takeover| takeover.origin.name.as_deref());
    for container in &additions.containers {
        let name = text(&container.value, "name");
        for port in ports(&container.value) {
            let number = port
                .get("containerPort")
                .and_then(Value::as_i64)
                .unwrap_or_default();
            let protocol = Some(text(port, "protocol"))
                .filter(|protocol| !protocol.is_empty())
                .unwrap_or("TCP");
            if let Some((other, ..)) = taken
                .iter()
                .find(|(_, other, their, _)| *other == number && their == protocol)
            {
                return Err(Problem::new(
                    Reason::Conflict,
                    format!(
                        "container `{name}` listens on port {number}, which `{other}` has already: choose another by a parameter"
                    ),
                ));
            }
            let called = port.get("name").and_then(Value::as_str);
            if let Some((other, ..)) = taken.iter().find(|(_, _, _, their)| {
                called.is_some() && their.as_deref() == called && called != given_up
            }) {
                return Err(Problem::new(
                    Reason::Conflict,
                    format!(
                        "container `{name}` calls a port `{}`, as `{other}` does: a Service would not know whom it means",
                        called.unwrap_or_default()
                    ),
                ));
            }
        }
        take(&container.value, &mut taken);
    }
    Ok(())
}

fn take(container: &Value, taken: &mut Vec<(String, i64, String, Option<String>)>) {
    for port in ports(container) {
        let number = port
            .get("containerPort")
            .and_then(Value::as_i64)
            .unwrap_or_default();
        let protocol = Some(text(port, "protocol"))
            .filter(|protocol| !protocol.is_empty())
            .unwrap_or("TCP");
        taken.push((
            text(container, "name").to_owned(),
            number,
            protocol.to_owned(),
            port.get("name").and_then(Value::as_str).map(str::to_owned),
        ));
    }
}

fn one_source(volume: &Value) -> Result<(), Problem> {
    let sources = volume
        .as_object()
        .map_or(0, |volume| volume.len().saturating_sub(1));
    if sources == 1 {
        return Ok(());
    }
    Err(invalid(format!(
        "volume `{}` has {sources} sources, expected one",
        text(volume, "name")
    )))
}

/// The Pod's annotations, those added so far, these, and the status that will record them.
fn annotations_fit(draft: &Draft<'_>, additions: &Additions) -> Result<(), Problem> {
    let size = |pairs: &[(String, String)]| {
        pairs
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
    };
    let added: usize = draft
        .additions
        .iter()
        .map(|added| size(&added.annotations))
        .sum::<usize>()
        + size(&additions.annotations);
    // A raw string is never shorter than its text, and a status never shorter than its records: an upper bound first.
    let raw: usize = draft
        .pod
        .metadata
        .annotations
        .iter()
        .flat_map(|pairs| pairs.iter())
        .map(|(key, raw)| key.len() + raw.get().len())
        .sum();
    if raw + added + 16 * 1024 <= MAX_ANNOTATIONS {
        return Ok(());
    }
    let there: usize = draft
        .pod
        .metadata
        .annotations
        .iter()
        .flat_map(|pairs| pairs.iter())
        .filter(|(key, _)| *key != crate::keys::STATUS)
        .map(|(key, raw)| key.len() + crate::pod::string(raw).map_or(0, |text| text.len()))
        .sum();
    let mut status = draft.status();
    status
        .instances
        .insert(additions.instance.to_string(), additions.record.clone());
    let total = there + added + crate::keys::STATUS.len() + status.text().len();
    if total <= MAX_ANNOTATIONS {
        return Ok(());
    }
    Err(Problem::new(
        Reason::TooLarge,
        format!("the Pod's annotations would be {total} bytes, expected at most {MAX_ANNOTATIONS}"),
    ))
}
