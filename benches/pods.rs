//! The Pods that the benchmarks send: of a given size, and shaped as the API server sends them.

use serde_json::{Value, json};

/// A Pod of about `size` bytes as the API server sends it, a third of it `managedFields`, with these annotations.
pub(crate) fn pod(size: usize, annotations: &[(String, String)]) -> Vec<u8> {
    let mut containers = Vec::new();
    let mut fields = serde_json::Map::new();
    loop {
        let index = containers.len();
        containers.push(json!({
            "name": format!("app-{index}"), "image": format!("registry.example/team/app-{index}:1.{index}"), "imagePullPolicy": "IfNotPresent",
            "ports": [{"name": format!("p{index}"), "containerPort": 8000 + index, "protocol": "TCP"}],
            "env": (0..12).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value {n} of container {index}")})).collect::<Vec<_>>(),
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": [{"name": "kube-api-access-x7x2p", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8000 + index, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "securityContext": {"runAsNonRoot": true}
        }));
        let spec = json!({"containers": containers, "volumes": [{"name": "kube-api-access-x7x2p", "projected": {"sources": [], "defaultMode": 420}}],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "schedulerName": "default-scheduler", "tolerations": [], "enableServiceLinks": true});
        while json!(fields).to_string().len() * 2 < spec.to_string().len() {
            let container = format!("k:{{\"name\":\"app-{}\"}}", fields.len());
            fields.insert(container, json!({".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:env": {".": {}, "k:{\"name\":\"SETTING_0\"}": {".": {}, "f:name": {}, "f:value": {}}}, "f:resources": {".": {}, "f:limits": {".": {}, "f:memory": {}}}}));
        }
        let mut all: serde_json::Map<String, Value> = annotations
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        all.insert(
            "kubernetes.io/description".to_owned(),
            json!("a Pod of the benchmark"),
        );
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "generateName": "shop-7c9f-", "namespace": "shop", "labels": {"app": "shop", "pod-template-hash": "7c9f"}, "annotations": all,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-7c9f", "uid": "5d1f0f0e-0000-4000-8000-000000000000", "controller": true}],
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:containers": fields}}}]
        }, "spec": spec, "status": {}});
        let bytes = pod.to_string().into_bytes();
        if bytes.len() >= size {
            return bytes;
        }
    }
}
