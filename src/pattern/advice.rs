//! What a pattern may say but better should not: Pod Security `restricted`, resources, images that move, secrets in the clear.

use serde_json::Value;

use super::{Fault, PatternSpec};

/// Volumes that `restricted` lets pass (`pod-security-admission/policy/check_restrictedVolumes.go`).
const RESTRICTED_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Advice on a pattern that loads: where, and one sentence.
#[must_use]
pub fn advice(spec: &PatternSpec) -> Vec<Fault> {
    let mut advice = Vec::new();
    for (list, containers) in [
        ("containers", &spec.containers),
        ("initContainers", &spec.init_containers),
    ] {
        for (index, container) in containers.iter().enumerate() {
            restricted(container, &format!("spec.{list}[{index}]"), &mut advice);
            habits(container, &format!("spec.{list}[{index}]"), &mut advice);
        }
    }
    for (index, volume) in spec.volumes.iter().enumerate() {
        let kind = volume
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .find(|key| *key != "name")
            .unwrap_or_default();
        if !kind.is_empty() && !RESTRICTED_VOLUMES.contains(&kind) {
            advice.push(Fault::new(
                format!("spec.volumes[{index}]"),
                format!("Pod Security `restricted` refuses `{kind}` volumes"),
            ));
        }
    }
    advice
}

/// What Pod Security `restricted` wants of a container (`pod-security-admission/policy`), and what goes with it.
fn restricted(container: &Value, path: &str, advice: &mut Vec<Fault>) {
    let context = container.get("securityContext");
    let field = |pointer: &str| context.and_then(|context| context.pointer(pointer));
    let templated = |value: &Value| value.as_str().is_some_and(|text| text.contains("{{"));
    let must = [
        (
            "/runAsNonRoot",
            field("/runAsNonRoot") == Some(&Value::Bool(true)),
            "runAsNonRoot: true",
        ),
        (
            "/allowPrivilegeEscalation",
            field("/allowPrivilegeEscalation") == Some(&Value::Bool(false)),
            "allowPrivilegeEscalation: false",
        ),
        (
            "/capabilities/drop",
            field("/capabilities/drop")
                .and_then(Value::as_array)
                .is_some_and(|drop| drop.iter().any(|name| name == "ALL")),
            "capabilities: {drop: [ALL]}",
        ),
        (
            "/seccompProfile/type",
            field("/seccompProfile/type")
                .is_some_and(|kind| kind == "RuntimeDefault" || kind == "Localhost"),
            "seccompProfile: {type: RuntimeDefault}",
        ),
    ];
    for (_, _, wanted) in must
        .iter()
        .filter(|(pointer, holds, _)| !holds && !field(pointer).is_some_and(templated))
    {
        advice.push(Fault::new(
            format!("{path}.securityContext"),
            format!("Pod Security `restricted` wants `{wanted}`"),
        ));
    }
    if field("/privileged") == Some(&Value::Bool(true)) {
        advice.push(Fault::new(
            format!("{path}.securityContext.privileged"),
            "Pod Security `restricted` refuses privileged containers",
        ));
    }
    let added = field("/capabilities/add")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for capability in added.filter(|capability| *capability != "NET_BIND_SERVICE") {
        let name = crate::text::plain(capability);
        advice.push(Fault::new(
            format!("{path}.securityContext.capabilities"),
            format!("Pod Security `restricted` refuses the capability `{name}`"),
        ));
    }
    if field("/procMount").is_some_and(|mount| mount != "Default") {
        advice.push(Fault::new(
            format!("{path}.securityContext.procMount"),
            "Pod Security `restricted` wants `procMount: Default`",
        ));
    }
    let ports = container
        .get("ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    if ports.into_iter().any(|port| port.get("hostPort").is_some()) {
        advice.push(Fault::new(
            format!("{path}.ports"),
            "Pod Security `restricted` refuses `hostPort`",
        ));
    }
    if field("/runAsUser").is_some_and(|user| *user == 0) {
        advice.push(Fault::new(
            format!("{path}.securityContext.runAsUser"),
            "Pod Security `restricted` refuses user 0",
        ));
    }
    if field("/runAsUser").is_none() {
        advice.push(Fault::new(
            format!("{path}.securityContext"),
            "without `runAsUser` the kubelet refuses an image whose user is a name",
        ));
    }
    if field("/readOnlyRootFilesystem") != Some(&Value::Bool(true)) {
        advice.push(Fault::new(
            format!("{path}.securityContext"),
            "without `readOnlyRootFilesystem: true` a helper that is broken into can change itself",
        ));
    }
}

/// Besides Pod Security: quotas, images, secrets, probes.
fn habits(container: &Value, path: &str, advice: &mut Vec<Fault>) {
    for kind in ["requests", "limits"]
        .iter()
        .filter(|kind| container.pointer(&format!("/resources/{kind}")).is_none())
    {
        advice.push(Fault::new(
            path,
            format!("without `resources.{kind}` a namespace with a quota refuses the Pod"),
        ));
    }
    if container
        .get("image")
        .and_then(Value::as_str)
        .is_some_and(|image| !image.contains("{{") && !pinned(image))
    {
        advice.push(Fault::new(
            format!("{path}.image"),
            "the image has no tag or digest: what runs changes under you",
        ));
    }
    for (index, entry) in container
        .get("env")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let value = text("value");
        if secretive(text("name")) && !value.is_empty() && !value.contains("{{") {
            advice.push(Fault::new(format!("{path}.env[{index}]"), format!("`{}` looks like a secret in the clear: take it from a Secret with `secretKeyRef`", text("name"))));
        }
    }
    for handler in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if container
            .pointer(&format!("/{handler}/httpGet/host"))
            .is_some()
            || container
                .pointer(&format!("/{handler}/tcpSocket/host"))
                .is_some()
        {
            advice.push(Fault::new(
                format!("{path}.{handler}"),
                "Pod Security `restricted` refuses `host` in probes",
            ));
        }
    }
}

fn pinned(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    image.contains('@') || name.split_once(':').is_some_and(|(_, tag)| tag != "latest")
}

fn secretive(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    [
        "PASSWORD",
        "PASSWD",
        "SECRET",
        "TOKEN",
        "PRIVATE_KEY",
        "API_KEY",
    ]
    .iter()
    .any(|word| name.contains(word))
        && !name.ends_with("_FILE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn advise(container: Value) -> Vec<String> {
        let spec: PatternSpec =
            serde_json::from_value(json!({"role": "sidecar", "containers": [container]})).unwrap();
        advice(&spec).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_built_ins_need_no_advice() {
        for (name, source) in crate::catalog::BUILT_IN_SOURCES {
            let object = crate::yaml::read(source).unwrap();
            let spec: PatternSpec = serde_json::from_value(object["spec"].clone()).unwrap();
            assert_eq!(advice(&spec), [], "{name}");
        }
    }

    #[test]
    fn what_restricted_refuses_is_said() {
        let said = advise(
            json!({"image": "app", "env": [{"name": "DB_PASSWORD", "value": "x"}], "securityContext": {"runAsUser": 0}}),
        );
        for expected in [
            "`runAsNonRoot: true`",
            "`allowPrivilegeEscalation: false`",
            "`capabilities: {drop: [ALL]}`",
            "refuses user 0",
            "no tag or digest",
            "`DB_PASSWORD` looks like a secret",
            "`resources.limits`",
        ] {
            assert!(
                said.iter().any(|sentence| sentence.contains(expected)),
                "{expected}: {said:?}"
            );
        }
    }
}
