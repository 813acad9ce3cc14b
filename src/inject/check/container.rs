//! The rules for one container, taken by itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{items, text};
use crate::inject::draft::{Additions, AppAdditions, Draft, ports};
use crate::kubernetes::names::{dns_label, port_name};

use crate::kubernetes::pod::Pod;
use crate::kubernetes::quantity::Quantity;
use crate::text::{excerpt, plain};

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

/// One sentence for the first rule that `container`, of `additions`, would break.
pub(super) fn rules(
    container: &Value,
    draft: &Draft<'_>,
    additions: &Additions,
) -> Result<(), String> {
    let name = text(container, "name");
    let wrong = |what: String| format!("container `{name}`: {what}");
    if !dns_label(name) {
        return Err(wrong(
            "the name is no DNS label of at most 63 characters".to_owned(),
        ));
    }
    let image = text(container, "image");
    if image.is_empty() {
        return Err(wrong("there is no image".to_owned()));
    }
    if image.trim() != image {
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
    mount_rules(container, draft, additions).map_err(wrong)?;
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

/// The rules for what an app container is given.
pub(super) fn app_rules(app: &AppAdditions) -> Result<(), String> {
    let wrong = |what: String| format!("container `{}`: {what}", app.container);
    let parts = json!({"env": app.env, "volumeMounts": app.mounts});
    env_rules(&parts).map_err(wrong)?;
    mount_paths(&parts).map_err(wrong)
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
        let protocol = text(port, "protocol");
        if !["", "TCP", "UDP", "SCTP"].contains(&protocol) {
            return Err(format!(
                "port {number} has the protocol `{}`, expected `TCP`, `UDP` or `SCTP`",
                excerpt(protocol, 20)
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

/// A key of a Secret or ConfigMap (`IsConfigMapKey`).
fn config_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=253).contains(&key.len()) && key.bytes().all(plain) && key != "." && !key.starts_with("..")
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
        if from.as_object().is_none_or(|sources| sources.len() != 1) {
            return Err(format!(
                "variable `{name}`: `valueFrom` has not exactly one source"
            ));
        }
        if !text(entry, "value").is_empty() {
            return Err(format!(
                "variable `{name}` has both `value` and `valueFrom`"
            ));
        }
        let keyed = ["secretKeyRef", "configMapKeyRef"]
            .iter()
            .find_map(|kind| from.get(*kind));
        if let Some(key) = keyed
            .map(|reference| text(reference, "key"))
            .filter(|key| !config_key(key))
        {
            return Err(format!(
                "variable `{name}` takes the key `{}`, expected letters, digits, `-`, `_` or `.`",
                excerpt(key, 60)
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

fn mount_rules(container: &Value, draft: &Draft<'_>, additions: &Additions) -> Result<(), String> {
    for mount in items(container, "volumeMounts") {
        let name = text(mount, "name");
        let known = draft.trial
            || additions
                .volumes
                .iter()
                .any(|volume| text(volume, "name") == name)
            || draft
                .pod
                .spec
                .volumes
                .iter()
                .flatten()
                .any(|volume| volume.name == name);
        if !known {
            return Err(format!("`{name}` is mounted but is no volume"));
        }
    }
    mount_paths(container)
}

fn mount_paths(container: &Value) -> Result<(), String> {
    let mut paths = BTreeSet::new();
    for path in items(container, "volumeMounts").map(|mount| text(mount, "mountPath")) {
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
    if items(resources, "claims").next().is_some() {
        return Err(
            "resources: `claims` need a claim of the Pod's, which Outrigger does not add"
                .to_owned(),
        );
    }
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
        let amount = read(value)?;
        if amount < Quantity::default() {
            return Err(format!(
                "resources: {name} is `{}`, expected at least 0",
                plain(value)
            ));
        }
        let extended = name.contains('/');
        let native = ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str())
            || name.starts_with("hugepages-");
        if !extended && !native {
            return Err(format!(
                "resources: `{}` is no resource, expected `cpu`, `memory`, `ephemeral-storage` or a name with a domain",
                excerpt(name, 60)
            ));
        }
        if extended && amount.whole().is_none() {
            return Err(format!(
                "resources: {name} is `{}`, expected a whole number",
                plain(value)
            ));
        }
    }
    for (name, request) in amounts("requests") {
        let limit = amounts("limits")
            .find(|(other, _)| *other == name)
            .map(|(_, limit)| limit);
        match limit {
            Some(limit) if read(request)? > read(limit)? => {
                return Err(format!(
                    "resources: the {name} request `{}` is above the limit `{}`",
                    plain(request),
                    plain(limit)
                ));
            }
            Some(limit) if name.contains('/') && read(request)? != read(limit)? => {
                return Err(format!(
                    "resources: the {name} request `{}` is not the limit `{}`",
                    plain(request),
                    plain(limit)
                ));
            }
            None if name.contains('/') => {
                return Err(format!("resources: {name} has a request and no limit"));
            }
            _ => {}
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
