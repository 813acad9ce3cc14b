//! Generated worlds: patterns, who asks for them, who offers and requires them.

use std::fmt;

use outrigger::binding::Binding;
use outrigger::catalog::{Catalog, Namespace, Place};
use outrigger::inject::{Context, Outcome, inject};
use outrigger::keys;
use outrigger::pattern::Pattern;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::json::{Json, always, closed, maybe, pick, text};
use super::pods;

/// The namespace that every generated Pod is in.
pub(super) const NAMESPACE: &str = "shop";

/// A Pod and everything around it.
#[derive(Clone)]
pub(super) struct Case {
    pub pod: Value,
    pub world: World,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pod = self.pod.clone();
        if let Some(padding) = pod.pointer_mut("/metadata/annotations/example.com~1padding") {
            *padding = json!(format!("{} bytes", padding.as_str().map_or(0, str::len)));
        }
        writeln!(f, "pod: {pod}")?;
        self.world
            .patterns
            .iter()
            .try_for_each(|pattern| writeln!(f, "pattern: {pattern}"))?;
        self.world
            .bindings
            .iter()
            .try_for_each(|(namespace, binding)| {
                writeln!(f, "binding of {namespace}: {binding}")
            })?;
        write!(f, "namespace: {:?}", self.world.namespace)
    }
}

/// What `inject` gets besides the Pod, before it is loaded.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub patterns: Vec<Value>,
    pub bindings: Vec<(&'static str, Value)>,
    pub namespace: Namespace,
}

impl World {
    /// A world of these patterns, given as `(name, spec)`, beside the built-in ones.
    pub(super) fn with(patterns: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self {
            patterns: patterns
                .into_iter()
                .map(|(name, spec)| pattern_object(name, &spec))
                .collect(),
            namespace: Namespace {
                name: NAMESPACE.to_owned(),
                ..Namespace::default()
            },
            ..Self::default()
        }
    }

    /// The same with a binding of Outrigger's own namespace.
    pub(super) fn bound(mut self, name: &str, spec: Value) -> Self {
        self.bindings.push((
            keys::HOME_NAMESPACE,
            json!({"metadata": {"name": name}, "spec": spec}),
        ));
        self
    }

    /// Loads everything; what does not load is a mistake of the generator.
    pub(super) fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::default();
        for object in &self.patterns {
            let place = Place::Namespace(keys::HOME_NAMESPACE.to_owned());
            match Pattern::load(object, place) {
                Ok(pattern) => catalog.add_pattern(pattern),
                Err(faults) => panic!("{object}: {faults:?}"),
            }
        }
        for (namespace, object) in &self.bindings {
            match Binding::load(object, namespace, keys::HOME_NAMESPACE) {
                Ok(binding) => catalog.add_binding(binding),
                Err(faults) => panic!("{object}: {faults:?}"),
            }
        }
        catalog
    }

    /// Runs `inject` on `pod` in this world.
    pub(super) fn inject(&self, pod: &Value) -> Outcome {
        self.inject_with(&self.catalog(), pod)
    }

    /// The same with a catalog that is loaded already.
    pub(super) fn inject_with(&self, catalog: &Catalog, pod: &Value) -> Outcome {
        let context = Context {
            namespace: &self.namespace,
            catalog,
        };
        inject(pod.to_string().as_bytes(), &context).expect("a Pod")
    }

    /// This world without its offers: what is asked for and required stays.
    pub(super) fn without_offers(&self) -> Self {
        let mut world = self.clone();
        world.namespace.annotations.clear();
        world
            .bindings
            .retain(|(_, binding)| binding["spec"]["enforcement"] == "Required");
        world
    }
}

fn pattern_object(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Pattern", "metadata": {"name": name}, "spec": spec})
}

/// A generated pattern's name, role and default port.
#[derive(Debug, Clone, Copy)]
struct Plan {
    name: &'static str,
    role: &'static str,
    port: u16,
}

const GENERATED: [Plan; 2] = [
    Plan {
        name: "helper",
        role: "adapter",
        port: 7101,
    },
    Plan {
        name: "helper-two",
        role: "sidecar",
        port: 7201,
    },
];

/// A Pod in a world; mostly something is asked, offered or required that can be done.
pub(super) fn case() -> BoxedStrategy<Case> {
    let patterns = GENERATED.map(pattern);
    let asks = asks();
    let offers = (
        prop::option::weighted(0.25, asks.clone()),
        bindings(),
        prop::sample::select(vec!["enabled", "enabled", "disabled", ""]),
    );
    (
        pods::pod(),
        patterns,
        prop::option::weighted(0.75, asks),
        offers,
    )
        .prop_map(|(mut pod, patterns, asked, (offered, bindings, label))| {
            let mut namespace = Namespace {
                name: NAMESPACE.to_owned(),
                ..Namespace::default()
            };
            if !label.is_empty() {
                namespace
                    .labels
                    .insert(keys::INJECTION.to_owned(), label.to_owned());
            }
            namespace.annotations = offered
                .into_iter()
                .flatten()
                .filter(|(key, _)| !key.contains('.') || key.matches('.').count() == 2)
                .collect();
            annotate(&mut pod, asked.into_iter().flatten());
            let world = World {
                patterns: patterns.to_vec(),
                bindings,
                namespace,
            };
            Case { pod, world }
        })
        .boxed()
}

/// Writes annotations, making the parents if there is something to write.
pub(super) fn annotate(pod: &mut Value, annotations: impl IntoIterator<Item = (String, String)>) {
    for (key, value) in annotations {
        if !pod["metadata"].is_object() {
            pod["metadata"] = json!({});
        }
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        pod["metadata"]["annotations"][key] = json!(value);
    }
}

/// Annotations that ask: for a third of the patterns each, some twice.
fn asks() -> BoxedStrategy<Vec<(String, String)>> {
    let built_in = [
        (
            "sidecar.outrigger.dev/https",
            closed(vec![
                always("secretName", pick(vec![json!("shop-tls")])),
                maybe(0.3, "port", pick(vec![json!(9443), json!(17000)])),
                maybe(
                    0.3,
                    "appPort",
                    pick(vec![json!("http"), json!(8080), json!("8080"), json!(4242)]),
                ),
                maybe(0.2, "concurrency", pick(vec![json!(2)])),
            ]),
        ),
        (
            "adapter.outrigger.dev/redis-metrics",
            closed(vec![
                maybe(0.3, "port", pick(vec![json!(9122), json!(17001)])),
                maybe(0.3, "user", text_at_least_one()),
                maybe(0.2, "passwordSecret", pick(vec![json!({"name": "auth"})])),
            ]),
        ),
        (
            "ambassador.outrigger.dev/redis-shard",
            closed(vec![
                always(
                    "shards",
                    pick(vec![
                        json!(["redis-0.redis:6379"]),
                        json!(["a:1", "[::1]:2", "c:3"]),
                    ]),
                ),
                maybe(0.3, "port", pick(vec![json!(6381)])),
                maybe(0.3, "onShardFailure", pick(vec![json!("remap")])),
            ]),
        ),
    ];
    let generated = GENERATED.map(|Plan { name, role, port }| {
        (format!("{role}.outrigger.dev/{name}"), parameters(port))
    });
    let all: Vec<_> = built_in
        .into_iter()
        .map(|(key, params)| (key.to_owned(), params))
        .chain(generated)
        .map(|(key, params)| prop::option::weighted(0.3, ask(key, params)))
        .collect();
    let second = prop::option::weighted(
        0.25,
        (prop::sample::select(GENERATED.to_vec()), 17000..17004_u16),
    );
    (all, second)
        .prop_map(|(asks, second)| {
            let second = second.map(|(Plan { name, role, .. }, port)| {
                (
                    format!("{role}.outrigger.dev/{name}.two"),
                    json!({"port": port}).to_string(),
                )
            });
            asks.into_iter().flatten().chain(second).collect()
        })
        .boxed()
}

fn text_at_least_one() -> Json {
    text().prop_map(|text| json!(format!("u{text}"))).boxed()
}

/// Parameters of a generated pattern.
fn parameters(port: u16) -> Json {
    closed(vec![
        maybe(
            0.3,
            "port",
            pick(vec![json!(port), json!(port + 1), json!(17000)]),
        ),
        maybe(0.3, "word", text().prop_map(Value::String)),
        maybe(0.2, "quiet", pick(vec![json!(true), json!(false)])),
    ])
}

/// One annotation: the parameters in one of their notations, with the two keys that every pattern has.
fn ask(key: String, params: Json) -> BoxedStrategy<(String, String)> {
    let ours = closed(vec![
        maybe(
            0.25,
            "into",
            pick(vec![
                json!("all"),
                json!("main"),
                json!(["app"]),
                json!(["app"]),
                json!("web"),
            ]),
        ),
        maybe(
            0.2,
            "override",
            pick(vec![
                json!({"image": "mirror.example/x:1"}),
                json!({"resources": {"limits": {"cpu": "2000m"}}}),
                json!({"env": [{"name": "DEBUG", "value": "\"1\""}]}),
            ]),
        ),
    ]);
    (params, ours)
        .prop_map(move |(params, ours)| {
            let mut all = Map::new();
            for fields in [params, ours] {
                all.extend(fields.as_object().cloned().unwrap_or_default());
            }
            let value = if all.is_empty() {
                "true".to_owned()
            } else {
                Value::Object(all).to_string()
            };
            (key.clone(), value)
        })
        .boxed()
}

fn bindings() -> BoxedStrategy<Vec<(&'static str, Value)>> {
    let https = closed(vec![
        always("secretName", pick(vec![json!("platform-tls")])),
        always("appPort", pick(vec![json!("http"), json!(8080)])),
    ]);
    let wanted = [
        ("https", https),
        ("redis-metrics", closed(vec![])),
        ("helper", parameters(7101)),
        ("helper-two", parameters(7201)),
    ];
    let each: Vec<_> = wanted
        .into_iter()
        .map(|(pattern, params)| {
            let place = prop::sample::select(vec![keys::HOME_NAMESPACE, NAMESPACE]);
            let rule = prop::sample::select(vec!["Default", "Default", "Required"]);
            let mode = prop::sample::select(vec!["Enforce", "Enforce", "Enforce", "Enforce", "Audit"]);
            prop::option::weighted(0.2, (place, rule, mode, params).prop_map(move |(place, rule, mode, params)| {
                (place, json!({"metadata": {"name": format!("bind-{pattern}")}, "spec": {"pattern": pattern, "params": params, "enforcement": rule, "mode": mode}}))
            }))
        })
        .collect();
    each.prop_map(|each| each.into_iter().flatten().collect())
        .boxed()
}

/// A pattern of every part that there is. Half of the second kind interpose.
fn pattern(plan: Plan) -> Json {
    let Plan { name, role, port } = plan;
    let interposer = name == "helper-two";
    let spec = (first_container(interposer), extras(), wiring(interposer)).prop_map(
        move |((container, named), extras, wiring)| {
            let mut spec = json!({
                "role": role,
                "params": {"type": "object", "properties": {
                    "port": {"type": "integer", "default": port},
                    "word": {"type": "string", "default": "word"},
                    "quiet": {"type": "boolean", "default": false},
                    "appPort": {"type": ["string", "integer"], "default": "http"},
                }},
                "containers": [container],
            });
            let fields = spec.as_object_mut().expect("an object");
            for part in [extras, wiring] {
                for (key, value) in part.as_object().cloned().unwrap_or_default() {
                    match (fields.get_mut(&key), value) {
                        (Some(Value::Array(there)), Value::Array(more)) => there.extend(more),
                        (_, value) => {
                            fields.insert(key, value);
                        }
                    }
                }
            }
            if named && fields.contains_key("interpose") {
                // Who takes a name over may ask itself by it.
                fields["containers"][0]["ports"][0]["name"] = json!("http");
                fields["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": "http"}});
            }
            pattern_object(name, &spec)
        },
    );
    spec.boxed()
}

fn first_container(interposer: bool) -> BoxedStrategy<(Value, bool)> {
    let container = closed(vec![
        always("image", Just(json!("helper:1"))),
        always(
            "ports",
            pick(if interposer {
                vec![json!([{"containerPort": "{{ params.port }}"}])]
            } else {
                vec![
                    json!([{"name": "helper", "containerPort": "{{ params.port }}"}]),
                    json!([{"containerPort": "{{ params.port }}"}, {"containerPort": "{{ params.port }}", "protocol": "UDP"}]),
                ]
            }),
        ),
        maybe(
            0.5,
            "args",
            pick(vec![
                json!(["--word={{ params.word }}", "{{ params.port }}"]),
                json!([]),
            ]),
        ),
        maybe(
            0.5,
            "env",
            pick(vec![
                json!([{"name": "WORD", "value": "{{ params.word }}"}, "{{ {'name': 'QUIET', 'value': '1'} if params.quiet else none }}"]),
                json!([{"name": "EMPTY", "value": ""}, {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
            ]),
        ),
        maybe(
            0.5,
            "startupProbe",
            pick(vec![
                json!({"tcpSocket": {"port": "{{ params.port }}"}}),
                json!({"exec": {"command": ["true"]}, "initialDelaySeconds": 0}),
            ]),
        ),
        maybe(
            0.2,
            "lifecycle",
            pick(vec![
                json!({"preStop": {"sleep": {"seconds": 4}}}),
                json!({"preStop": {"sleep": {"seconds": 20}}}),
            ]),
        ),
        maybe(
            0.6,
            "resources",
            pick(vec![
                json!({"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
                json!({"limits": {"cpu": "0.5"}}),
            ]),
        ),
        maybe(
            0.4,
            "securityContext",
            pick(vec![
                json!({"runAsNonRoot": true, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}),
            ]),
        ),
    ]);
    (container, any::<bool>()).boxed()
}

/// Parts that stand beside the first container.
fn extras() -> Json {
    closed(vec![
        maybe(
            0.3,
            "containers",
            pick(vec![
                json!([{"name": "aide", "image": "aide:1", "volumeMounts": [{"name": "tmp", "mountPath": "/aide"}]}]),
                json!([{"name": "aide", "image": "aide:1", "tty": false}, {"name": "other", "image": "aide:2", "args": ["{{ params.word }}"]}]),
            ]),
        ),
        maybe(
            0.4,
            "initContainers",
            pick(vec![
                json!([{"name": "prepare", "image": "prepare:1"}]),
                json!([{"name": "prepare", "image": "prepare:1", "command": ["true"]}, {"name": "more", "image": "prepare:1"}]),
            ]),
        ),
        maybe(
            0.3,
            "imagePullSecrets",
            pick(vec![
                json!([{"name": "pull-a"}]),
                json!([{"name": "pull-a"}, {"name": "pull-b"}, "{{ {'name': 'pull-c'} if params.quiet else none }}"]),
            ]),
        ),
        maybe(
            0.4,
            "podMetadata",
            pick(vec![
                json!({"annotations": {"prometheus.io/scrape": "true", "example.com/port_x": "{{ params.port }}"}}),
                json!({"labels": {"team": "helpers"}, "annotations": {"example.com/word": "{{ params.word }}"}}),
            ]),
        ),
        maybe(
            0.4,
            "files",
            pick(vec![
                json!({"conf.json": "{\"word\": {{ params.word | json }}, \"port\": {{ params.port }}}\n"}),
                json!({"a": "fixed", "b.yaml": "x: {{ params.word | json }}\n"}),
            ]),
        ),
        maybe(
            0.3,
            "ports",
            pick(vec![
                json!({"admin": "auto"}),
                json!({"admin": "auto", "other": "auto"}),
            ]),
        ),
        maybe(0.3, "first", pick(vec![json!(true), json!(false)])),
        maybe(0.4, "rank", pick(vec![json!(1), json!(10), json!(500)])),
        maybe(0.3, "native", pick(vec![json!(false)])),
        maybe(0.2, "serviceAccountToken", pick(vec![json!(true)])),
    ])
}

/// What the app gets.
fn wiring(interposer: bool) -> Json {
    let mounts = json!([{"name": "out", "mountPath": "/helper", "readOnly": true}, {"name": "tmp", "mountPath": "/helper-tmp", "readOnly": false}]);
    let app = closed(vec![
        maybe(
            0.6,
            "env",
            pick(vec![
                json!([{"name": "HELPER_URL", "value": "http://localhost:{{ params.port }}"}]),
                json!([{"name": "MODE", "value": "helped"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}, {"name": "LITERAL", "value": 1}]),
            ]),
        ),
        maybe(0.5, "volumeMounts", Just(mounts)),
    ]);
    let sources = pick(vec![
        json!([{"name": "out", "emptyDir": {"sizeLimit": "1024Mi"}}, {"name": "tmp", "emptyDir": {}}]),
        json!([{"name": "out", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}, {"name": "tmp", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}]),
    ]);
    let mut parts = vec![always("volumes", sources), maybe(0.7, "app", app)];
    if interposer {
        parts.push(maybe(
            0.6,
            "interpose",
            Just(json!({"port": "{{ params.appPort }}"})),
        ));
    }
    closed(parts)
}
