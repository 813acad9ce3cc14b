//! Generated Pods: valid ones as the API server would take them, with everything that may stand in a patch's way.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::json::{Field, Json, always, closed, maybe, open, parent, pick, text};

/// Names of regular containers, the first is the main one unless an annotation says otherwise.
const APPS: [&str; 4] = ["app", "web", "worker", "redis"];
/// First port number of each, clear of one another.
const BASES: [i64; 4] = [8080, 3000, 5000, 7000];
/// Volumes that a user writes.
const VOLUMES: [&str; 3] = ["data", "config", "scratch"];

/// A Pod without any annotation of ours.
pub(super) fn pod() -> Json {
    prop_oneof![4 => own(), 1 => (foreign(), own()).prop_map(|(foreign, own)| with_metadata_of(foreign, &own))]
        .boxed()
}

/// A Pod that only its user has touched.
fn own() -> Json {
    open(vec![
        maybe(0.5, "apiVersion", pick(vec![json!("v1")])),
        maybe(0.5, "kind", pick(vec![json!("Pod")])),
        parent("metadata", json!({}), metadata()),
        always("spec", spec()),
        maybe(
            0.1,
            "status",
            pick(vec![json!({"phase": "Pending", "containers": []})]),
        ),
    ])
    .prop_map(tidy)
    .boxed()
}

fn metadata() -> Json {
    open(vec![
        maybe(0.7, "name", pick(vec![json!("shop"), json!("")])),
        maybe(0.2, "generateName", pick(vec![json!("shop-")])),
        maybe(0.2, "creationTimestamp", pick(vec![Value::Null])),
        maybe(
            0.2,
            "managedFields",
            pick(vec![
                json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:containers": {}}}}]),
            ]),
        ),
        parent("labels", json!({}), labels()),
        parent("annotations", json!({}), annotations()),
    ])
}

fn labels() -> Json {
    closed(vec![
        maybe(0.7, "app", pick(vec![json!("shop")])),
        maybe(0.1, "team", pick(vec![json!("helpers"), json!("carts")])),
    ])
}

fn annotations() -> Json {
    let value = || text().prop_map(Value::String);
    closed(vec![
        maybe(0.3, "example.com/a~b", value()),
        maybe(0.3, "example.com/c~1d", value()),
        maybe(0.3, "plain", value()),
        maybe(0.2, "notoutrigger.dev/https", value()),
        maybe(
            0.2,
            "prometheus.io/scrape",
            pick(vec![json!("true"), json!("false")]),
        ),
        maybe(
            0.2,
            "kubectl.kubernetes.io/default-container",
            pick(vec![json!("web"), json!("nobody")]),
        ),
        maybe(0.04, "example.com/padding", padding()),
    ])
}

/// Annotations of nearly all, or a little more than all, of the 256 KiB that there are.
fn padding() -> Json {
    (0..30_000_usize)
        .prop_map(|less| json!("p".repeat(262_600 - less)))
        .boxed()
}

fn spec() -> Json {
    let containers = (1..=4_usize)
        .prop_flat_map(|count| (0..count).map(container).collect::<Vec<_>>())
        .prop_map(Value::Array);
    let init = (0..=2_usize)
        .prop_flat_map(|count| (0..count).map(init_container).collect::<Vec<_>>())
        .prop_map(Value::Array);
    open(vec![
        always("containers", containers),
        parent("initContainers", json!([]), init),
        parent("volumes", json!([]), volumes()),
        parent(
            "imagePullSecrets",
            json!([]),
            pick(vec![
                json!([{"name": "user-pull"}]),
                json!([{"name": "pull-a"}, {"name": "user-pull"}]),
            ]),
        ),
        maybe(
            0.06,
            "hostNetwork",
            pick(vec![json!(true), json!(true), json!(false), Value::Null]),
        ),
        maybe(
            0.1,
            "resources",
            pick(vec![
                json!({"limits": {"cpu": "4", "memory": "4Gi"}, "requests": {"cpu": "1"}}),
                json!({}),
                Value::Null,
            ]),
        ),
        maybe(
            0.2,
            "terminationGracePeriodSeconds",
            pick(vec![json!(5), json!(30), json!(60)]),
        ),
        maybe(0.2, "restartPolicy", pick(vec![json!("Always")])),
        maybe(0.2, "serviceAccountName", pick(vec![json!("shop")])),
        maybe(
            0.1,
            "nodeSelector",
            pick(vec![json!({"kubernetes.io/os": "linux"}), Value::Null]),
        ),
    ])
}

fn volumes() -> Json {
    let source = || {
        pick(vec![
            json!({"emptyDir": {}}),
            json!({"emptyDir": {"sizeLimit": "1024Mi"}}),
            json!({"configMap": {"name": "c"}}),
            json!({"hostPath": {"path": "/x"}}),
        ])
    };
    prop::sample::subsequence(VOLUMES.to_vec(), 0..=VOLUMES.len())
        .prop_flat_map(move |names| {
            names
                .into_iter()
                .map(|name| (Just(name), source(), open(vec![])))
                .collect::<Vec<_>>()
        })
        .prop_map(|volumes| {
            let volumes = volumes.into_iter().map(|(name, source, unknown)| {
                let mut volume = Map::from_iter([("name".to_owned(), json!(name))]);
                for fields in [unknown, source] {
                    volume.extend(fields.as_object().cloned().unwrap_or_default());
                }
                Value::Object(volume)
            });
            Value::Array(volumes.collect())
        })
        .boxed()
}

/// The fields that every kind of container may have.
fn common() -> Vec<Field> {
    vec![
        always(
            "image",
            pick(vec![json!("registry.example/shop:1.4"), json!("redis:7")]),
        ),
        maybe(0.2, "imagePullPolicy", pick(vec![json!("Always")])),
        maybe(
            0.2,
            "args",
            pick(vec![json!([]), Value::Null, json!(["--flag={{ x }}", ""])]),
        ),
        maybe(
            0.2,
            "resources",
            pick(vec![
                json!({}),
                json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": "0.5"}}),
            ]),
        ),
        parent("env", json!([]), env()),
        parent("volumeMounts", json!([]), mounts()),
    ]
}

fn env() -> Json {
    prop::sample::subsequence(vec!["MODE", "HELPER_URL", "SHARED", "A", "B"], 0..=2)
        .prop_flat_map(|names| {
            names
                .into_iter()
                .map(|name| {
                    let from = pick(vec![json!({"fieldRef": {"fieldPath": "metadata.name"}})]);
                    // Those that patterns give, too, mostly as patterns do.
                    let value = match name {
                        "MODE" => pick(vec![json!("helped"), json!("helped"), json!("mine")]),
                        _ => text().prop_map(Value::String).boxed(),
                    };
                    let body = prop_oneof![6 => maybe(0.95, "value", value), 1 => always("valueFrom", from)];
                    open(vec![always("name", Just(json!(name))), body.boxed()])
                })
                .collect::<Vec<_>>()
        })
        .prop_map(Value::Array)
        .boxed()
}

fn mounts() -> Json {
    let paths = vec![
        "/data",
        "/etc/config",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "/helper",
    ];
    prop::sample::subsequence(paths, 0..=2)
        .prop_flat_map(|paths| {
            paths
                .into_iter()
                .map(|path| {
                    open(vec![
                        always("name", pick(VOLUMES.map(|name| json!(name)).to_vec())),
                        always("mountPath", Just(json!(path))),
                        maybe(0.3, "readOnly", pick(vec![json!(true), json!(false)])),
                        maybe(0.1, "subPath", pick(vec![json!("sub")])),
                    ])
                })
                .collect::<Vec<_>>()
        })
        .prop_map(Value::Array)
        .boxed()
}

fn container(index: usize) -> Json {
    let mut fields = vec![always("name", Just(json!(APPS[index])))];
    fields.extend(common());
    fields.push(parent("ports", json!([]), ports(index)));
    for (probability, field) in [
        (0.4, "livenessProbe"),
        (0.4, "readinessProbe"),
        (0.2, "startupProbe"),
    ] {
        fields.push(maybe(probability, field, probe(index)));
    }
    let hook = || {
        closed(vec![always(
            "tcpSocket",
            pick(vec![json!({"port": "http"}), json!({"port": BASES[index]})]),
        )])
    };
    fields.push(maybe(
        0.15,
        "lifecycle",
        open(vec![
            maybe(0.5, "preStop", hook()),
            maybe(0.5, "postStart", hook()),
        ]),
    ));
    open(fields)
}

fn init_container(index: usize) -> Json {
    let name = ["setup", "user-sidecar"][index];
    let mut fields = vec![always("name", Just(json!(name)))];
    fields.extend(common());
    if index == 1 {
        fields.push(always("restartPolicy", Just(json!("Always"))));
        fields.push(maybe(
            0.4,
            "ports",
            pick(vec![
                json!([{"name": "side", "containerPort": 9000}]),
                json!([{"containerPort": 9000, "protocol": "UDP"}]),
            ]),
        ));
        fields.push(maybe(
            0.3,
            "startupProbe",
            pick(vec![json!({"exec": {"command": ["true"]}})]),
        ));
    }
    open(fields)
}

/// The shapes that people write, with the two that trip: UDP beside TCP on one number, before and after it.
fn ports(index: usize) -> Json {
    let base = BASES[index];
    let http = if index == 0 {
        "http".to_owned()
    } else {
        format!("http-{index}")
    };
    let same_name = pick(vec![json!([{"name": "http", "containerPort": base}])]);
    let shapes = pick(vec![
        json!([{"name": http, "containerPort": base}]),
        json!([{"name": http, "containerPort": base, "protocol": "TCP", "hostIP": ""}]),
        json!([{"containerPort": base}]),
        json!([{"name": http, "containerPort": base}, {"name": "quic", "containerPort": base, "protocol": "UDP"}]),
        json!([{"name": http, "containerPort": base}, {"containerPort": base, "protocol": "UDP"}]),
        json!([{"name": "quic", "containerPort": base, "protocol": "UDP"}, {"name": http, "containerPort": base}]),
        json!([{"name": "admin", "containerPort": base + 1}, {"containerPort": base, "name": http}]),
        json!([{"containerPort": base + 2, "protocol": "UDP"}]),
        json!([{"containerPort": base, "name": ""}]),
        json!([{"containerPort": base, "name": null}]),
    ]);
    let shapes = prop_oneof![30 => shapes, 1 => same_name];
    (shapes, open(vec![]))
        .prop_map(|(mut ports, unknown)| {
            if let (Some(Value::Object(last)), Value::Object(unknown)) = (
                ports.as_array_mut().and_then(|ports| ports.last_mut()),
                unknown,
            ) {
                last.extend(unknown);
            }
            ports
        })
        .boxed()
}

fn probe(index: usize) -> Json {
    let http = if index == 0 {
        "http".to_owned()
    } else {
        format!("http-{index}")
    };
    let base = BASES[index];
    let handlers = vec![
        json!({"httpGet": {"port": http, "path": "/healthz", "httpHeaders": [{"name": "X", "value": "http"}]}}),
        json!({"httpGet": {"port": base, "path": "/"}, "periodSeconds": 3}),
        json!({"tcpSocket": {"port": http, "host": "http"}}),
        json!({"exec": {"command": ["sh", "-c", "http"]}}),
        json!({"grpc": {"port": base}}),
    ];
    (pick(handlers), open(vec![]))
        .prop_map(|(mut probe, unknown)| {
            if let (Value::Object(probe), Value::Object(unknown)) = (&mut probe, unknown) {
                probe.extend(unknown);
            }
            probe
        })
        .boxed()
}

/// What no valid Pod has goes: mounts without their volume.
fn tidy(mut pod: Value) -> Value {
    let volumes: Vec<Value> = pod
        .pointer("/spec/volumes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|volume| volume["name"].clone())
        .collect();
    for list in ["containers", "initContainers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(mounts) = container
                .get_mut("volumeMounts")
                .and_then(Value::as_array_mut)
            {
                mounts.retain(|mount| volumes.contains(&mount["name"]));
            }
        }
    }
    pod
}

/// Another injector's work, with a generated Pod's labels and annotations beside its own.
fn with_metadata_of(mut foreign: Value, own: &Value) -> Value {
    for field in ["labels", "annotations"] {
        let more = own
            .pointer(&format!("/metadata/{field}"))
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        if let Some(metadata) = foreign["metadata"].as_object_mut()
            && let Some(there) = metadata
                .entry(field)
                .or_insert_with(|| json!({}))
                .as_object_mut()
        {
            for (key, value) in more {
                there.entry(key).or_insert(value);
            }
        }
    }
    foreign
}

/// Pods as other injectors leave them, by the docs of each.
fn foreign() -> Json {
    pick(vec![istio(false), istio(true), linkerd(), vault(), dapr()])
}

fn app() -> Value {
    json!({"name": "app", "image": "shop:1", "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/app-health/app/readyz", "port": 15020}},
        "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}}})
}

fn istio(native: bool) -> Value {
    let mut proxy = json!({
        "name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.27.0",
        "args": ["proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local"],
        "env": [{"name": "PILOT_CERT_PROVIDER", "value": "istiod"}, {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}},
        "volumeMounts": [{"mountPath": "/etc/istio/proxy", "name": "istio-envoy"}, {"mountPath": "/var/run/secrets/tokens", "name": "istio-token"}],
    });
    let init = json!({"name": "istio-init", "image": "docker.io/istio/proxyv2:1.27.0", "args": ["istio-iptables", "-p", "15001"], "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}});
    let (containers, init) = if native {
        proxy["restartPolicy"] = json!("Always");
        (vec![app()], vec![init, proxy])
    } else {
        (vec![proxy, app()], vec![init])
    };
    json!({
        "metadata": {"annotations": {"sidecar.istio.io/status": "{\"initContainers\":[\"istio-init\"],\"containers\":[\"istio-proxy\"],\"revision\":\"default\"}", "prometheus.io/port": "15020"}, "labels": {"security.istio.io/tlsMode": "istio"}},
        "spec": {"containers": containers, "initContainers": init, "volumes": [{"name": "workload-socket", "emptyDir": {}}, {"name": "istio-envoy", "emptyDir": {"medium": "Memory"}}, {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {"audience": "istio-ca", "path": "istio-token"}}]}}]},
    })
}

fn linkerd() -> Value {
    let proxy = json!({"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:edge", "ports": [{"containerPort": 4143, "name": "linkerd-proxy"}, {"containerPort": 4191, "name": "linkerd-admin"}],
        "volumeMounts": [{"mountPath": "/var/run/linkerd/identity/end-entity", "name": "linkerd-identity-end-entity"}]});
    json!({
        "metadata": {"annotations": {"linkerd.io/inject": "enabled", "linkerd.io/proxy-version": "edge"}, "labels": {"linkerd.io/control-plane-ns": "linkerd"}},
        "spec": {"containers": [proxy, app()], "initContainers": [{"name": "linkerd-init", "image": "cr.l5d.io/linkerd/proxy-init:v2", "args": ["--incoming-proxy-port", "4143"]}],
            "volumes": [{"name": "linkerd-identity-end-entity", "emptyDir": {"medium": "Memory"}}]},
    })
}

fn vault() -> Value {
    let mounts = json!([{"mountPath": "/home/vault", "name": "home-sidecar"}, {"mountPath": "/vault/secrets", "name": "vault-secrets"}]);
    let mut main = app();
    main["volumeMounts"] = json!([{"mountPath": "/vault/secrets", "name": "vault-secrets"}]);
    json!({
        "metadata": {"annotations": {"vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-status": "injected", "vault.hashicorp.com/agent-inject-template-db": "{{ with secret \"db\" }}{{ .Data }}{{ end }}"}},
        "spec": {"containers": [main, {"name": "vault-agent", "image": "hashicorp/vault", "env": [{"name": "VAULT_CONFIG", "value": "e30="}], "volumeMounts": mounts}],
            "initContainers": [{"name": "vault-agent-init", "image": "hashicorp/vault", "volumeMounts": mounts}],
            "volumes": [{"name": "home-sidecar", "emptyDir": {"medium": "Memory"}}, {"name": "vault-secrets", "emptyDir": {"medium": "Memory"}}]},
    })
}

fn dapr() -> Value {
    let mut main = app();
    main["env"] = json!([{"name": "DAPR_HTTP_PORT", "value": "3500"}, {"name": "DAPR_GRPC_PORT", "value": "50001"}]);
    json!({
        "metadata": {"annotations": {"dapr.io/enabled": "true", "dapr.io/app-id": "shop"}, "labels": {"dapr.io/sidecar-injected": "true"}},
        "spec": {"containers": [main, {"name": "daprd", "image": "daprio/daprd:1.16", "args": ["/daprd", "--dapr-http-port", "3500"], "ports": [{"containerPort": 3500, "name": "dapr-http"}, {"containerPort": 9090, "name": "dapr-metrics"}],
            "livenessProbe": {"httpGet": {"path": "/v1.0/healthz", "port": 3500}}}],
            "volumes": [{"name": "dapr-identity-token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]},
    })
}
