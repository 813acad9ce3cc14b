//! What happens to a Pod between two calls of ours, as far as it can be seen in the Pod: the API server's defaults
//! (`pkg/apis/core/v1/defaults.go`), Go's encoder, the service account's token, other webhooks.

use serde_json::{Map, Value, json};

/// Everything at once.
pub(super) fn between_calls(pod: &Value) -> Value {
    with_other_webhooks(&with_token(&stored(pod)))
}

/// Sets what is absent.
fn default(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(fields) = object
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.to_owned(), value);
    }
}

fn items<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object
        .get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// The Pod as the API server holds it: defaults filled in, what Go leaves out left out, amounts in their canonical form.
pub(super) fn stored(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let spec = &mut pod["spec"];
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "schedulerName", json!("default-scheduler"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "securityContext", json!({}));
    let host_network = spec["hostNetwork"] == json!(true);
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            container_defaults(container, host_network);
        }
    }
    items(spec, "volumes").for_each(volume_defaults);
    if let Some(resources) = spec.get_mut("resources") {
        canonical(resources);
    }
    encode(&mut pod);
    pod
}

fn container_defaults(container: &mut Value, host_network: bool) {
    default(
        container,
        "terminationMessagePath",
        json!("/dev/termination-log"),
    );
    default(container, "terminationMessagePolicy", json!("File"));
    default(container, "imagePullPolicy", json!("IfNotPresent"));
    default(container, "resources", json!({}));
    canonical(&mut container["resources"]);
    for port in items(container, "ports") {
        default(port, "protocol", json!("TCP"));
        if host_network {
            let number = port["containerPort"].clone();
            default(port, "hostPort", number);
        }
    }
    for entry in items(container, "env") {
        if let Some(reference) = entry.pointer_mut("/valueFrom/fieldRef") {
            default(reference, "apiVersion", json!("v1"));
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(field) else {
            continue;
        };
        for (field, value) in [
            ("timeoutSeconds", 1),
            ("periodSeconds", 10),
            ("successThreshold", 1),
            ("failureThreshold", 3),
        ] {
            default(probe, field, json!(value));
        }
        if let Some(get) = probe.get_mut("httpGet") {
            default(get, "path", json!("/"));
            default(get, "scheme", json!("HTTP"));
        }
    }
}

fn volume_defaults(volume: &mut Value) {
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, "defaultMode", json!(420));
            for item in items(source, "items") {
                if let Some(reference) = item.get_mut("fieldRef") {
                    default(reference, "apiVersion", json!("v1"));
                }
            }
        }
    }
    if let Some(limit) = volume.pointer_mut("/emptyDir/sizeLimit") {
        canonical_amount(limit);
    }
}

/// The amounts under `limits` and `requests`.
fn canonical(resources: &mut Value) {
    for kind in ["limits", "requests"] {
        let amounts = resources.get_mut(kind).and_then(Value::as_object_mut);
        amounts
            .into_iter()
            .flatten()
            .for_each(|(_, amount)| canonical_amount(amount));
    }
    // Limits stand in for requests that are absent.
    let limits = resources
        .get("limits")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, amount) in limits {
        default(resources, "requests", json!({}));
        default(&mut resources["requests"], &name, amount);
    }
}

fn canonical_amount(amount: &mut Value) {
    for (from, to) in [
        ("1000m", "1"),
        ("2000m", "2"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
    ] {
        if *amount == json!(from) {
            *amount = json!(to);
        }
    }
}

/// Fields that Go's types mark `omitempty`, as far as the generators use them: empty ones are not written.
const OMITTED: [&str; 17] = [
    "annotations",
    "labels",
    "args",
    "command",
    "env",
    "ports",
    "volumeMounts",
    "initContainers",
    "volumes",
    "imagePullSecrets",
    "value",
    "readOnly",
    "initialDelaySeconds",
    "tty",
    "hostNetwork",
    "limits",
    "requests",
];

/// Go's encoder: nulls go, and so does what is empty and may be omitted.
fn encode(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(encode);
            fields.retain(|key, value| {
                !(value.is_null() || (OMITTED.contains(&key.as_str()) && is_empty(value)))
            });
        }
        Value::Array(items) => items.iter_mut().for_each(encode),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    [json!([]), json!({}), json!(""), json!(false), json!(0)].contains(value)
}

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Adds an entry to a list of `object`, which is made if need be.
fn push(object: &mut Value, field: &str, item: Value) {
    if !object[field].is_array() {
        object[field] = json!([]);
    }
    items_of(object, field).push(item);
}

fn items_of<'a>(object: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    object[field].as_array_mut().expect("a list")
}

fn each_container(pod: &mut Value, mut change: impl FnMut(&mut Value)) {
    for list in ["containers", "initContainers"] {
        items(&mut pod["spec"], list).for_each(&mut change);
    }
}

/// The `ServiceAccount` admission plugin: a volume, and a mount in every container that has none there.
pub(super) fn with_token(pod: &Value) -> Value {
    let mut pod = pod.clone();
    each_container(&mut pod, |container| {
        if !items(container, "volumeMounts").any(|mount| mount["mountPath"] == TOKEN) {
            push(
                container,
                "volumeMounts",
                json!({"name": "kube-api-access-x7k2p", "readOnly": true, "mountPath": TOKEN}),
            );
        }
    });
    push(
        &mut pod["spec"],
        "volumes",
        json!({"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}),
    );
    default(&mut pod["spec"], "serviceAccountName", json!("default"));
    pod
}

/// Webhooks that come after ours: one prepends an init container, one appends a container, one touches every container.
pub(super) fn with_other_webhooks(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if !pod["spec"]["initContainers"].is_array() {
        pod["spec"]["initContainers"] = json!([]);
    }
    items_of(&mut pod["spec"], "initContainers")
        .insert(0, json!({"name": "foreign-init", "image": "foreign:1"}));
    push(
        &mut pod["spec"],
        "containers",
        json!({"name": "foreign-agent", "image": "foreign:1", "ports": [{"containerPort": 31999}]}),
    );
    each_container(&mut pod, |container| {
        push(container, "env", json!({"name": "FOREIGN", "value": "1"}));
        push(
            container,
            "volumeMounts",
            json!({"name": "foreign", "mountPath": "/foreign"}),
        );
    });
    push(
        &mut pod["spec"],
        "volumes",
        json!({"name": "foreign", "emptyDir": {}}),
    );
    let mut metadata = pod["metadata"].as_object().cloned().unwrap_or_default();
    let annotations = metadata
        .entry("annotations")
        .or_insert_with(|| Value::Object(Map::new()));
    annotations["foreign.example/status"] = json!("injected");
    pod["metadata"] = Value::Object(metadata);
    pod
}
