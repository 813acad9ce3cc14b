//! Chains of interposers, written out: https → rate-limit → cache → app.

use outrigger::inject::{Interposed, Status, uninject};
use outrigger::keys;
use serde_json::{Value, json};

use super::rules::{containers, name};
use super::world::{World, annotate};
use super::{injected, sentences};

/// An interposer that listens on `port` and tells where it sends things.
fn interposer(rank: i32, port: u16) -> Value {
    json!({
        "role": "ambassador",
        "rank": rank,
        "params": {"type": "object", "properties": {"appPort": {"type": ["string", "integer"], "default": "http"}}},
        "interpose": {"port": "{{ params.appPort }}"},
        "containers": [{"image": "proxy:1", "args": ["--to={{ upstream.port }}"], "ports": [{"containerPort": port}]}],
    })
}

/// `https` is the built-in, of rank 10.
fn world() -> World {
    World::with([
        ("rate-limit", interposer(20, 8082)),
        ("cache", interposer(30, 8081)),
    ])
}

fn app() -> Value {
    json!({"metadata": {"annotations": {}}, "spec": {"containers": [
        {"name": "helperless", "image": "other:1"},
        {"name": "app", "image": "app:1", "ports": [{"containerPort": 9000, "name": "admin"}, {"containerPort": 8080, "name": "http"}],
         "readinessProbe": {"httpGet": {"port": "http", "path": "/ready"}},
         "livenessProbe": {"tcpSocket": {"port": "admin"}},
         "lifecycle": {"preStop": {"httpGet": {"port": "http", "path": "/bye"}}}},
    ]}})
}

/// The Pod with these asked for.
fn asking(mut pod: Value, patterns: &[&str]) -> Value {
    for pattern in patterns {
        let (role, value) = if *pattern == "https" {
            ("sidecar", "{secretName: tls}")
        } else {
            ("ambassador", "")
        };
        annotate(
            &mut pod,
            [(format!("{role}.outrigger.dev/{pattern}"), value.to_owned())],
        );
    }
    pod
}

fn container<'a>(pod: &'a Value, wanted: &str) -> &'a Value {
    containers(pod)
        .find(|container| name(container) == wanted)
        .expect("the container is there")
}

/// Who has a port of this name, and its number.
fn holders(pod: &Value, port_name: &str) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for container in containers(pod) {
        for port in container["ports"].as_array().into_iter().flatten() {
            if port["name"] == port_name {
                found.push((
                    name(container).to_owned(),
                    port["containerPort"].as_i64().expect("a number"),
                ));
            }
        }
    }
    found
}

fn interposed(pod: &Value, instance: &str) -> Interposed {
    let text = pod["metadata"]["annotations"][keys::STATUS]
        .as_str()
        .expect("a status");
    let status = Status::parse(text).expect("a status");
    status.instances[instance]
        .interpose
        .clone()
        .expect("it interposes")
}

fn record(listen: i64, upstream: i64, probes: &[&str]) -> Interposed {
    Interposed {
        container: "app".to_owned(),
        port: 8080,
        name: Some("http".to_owned()),
        listen,
        upstream,
        probes: probes.iter().map(|probe| (*probe).to_owned()).collect(),
    }
}

const PROBES: [&str; 2] = [
    "readinessProbe/httpGet/port",
    "lifecycle/preStop/httpGet/port",
];

/// The app has lost the name, what asked by it asks by number, and nothing else of it has changed.
fn app_is_rewired(pod: &Value) {
    let mut expected = app()["spec"]["containers"][1].clone();
    expected["ports"][1] = json!({"containerPort": 8080});
    expected["readinessProbe"]["httpGet"]["port"] = json!(8080);
    expected["lifecycle"]["preStop"]["httpGet"]["port"] = json!(8080);
    assert_eq!(*container(pod, "app"), expected);
}

/// A second pass changes nothing, and `uninject` gives the Pod back.
fn lawful(before: &Value, after: &Value) {
    let again = world().inject(after);
    assert_eq!(sentences(&again), [""; 0]);
    assert!(again.patch.is_empty());
    let mut back = after.clone();
    uninject(&mut back).expect("a status");
    assert_eq!(back, *before);
}

#[test]
fn one_stands_before_the_app() {
    let pod = asking(app(), &["cache"]);
    let after = injected(&world(), &pod);
    assert_eq!(holders(&after, "http"), [("cache".to_owned(), 8081)]);
    assert_eq!(container(&after, "cache")["args"], json!(["--to=8080"]));
    assert_eq!(interposed(&after, "cache"), record(8081, 8080, &PROBES));
    app_is_rewired(&after);
    lawful(&pod, &after);
}

#[test]
fn two_make_a_chain() {
    let pod = asking(app(), &["cache", "rate-limit"]);
    let after = injected(&world(), &pod);
    assert_eq!(holders(&after, "http"), [("rate-limit".to_owned(), 8082)]);
    assert_eq!(
        container(&after, "rate-limit")["args"],
        json!(["--to=8081"])
    );
    assert_eq!(container(&after, "cache")["args"], json!(["--to=8080"]));
    app_is_rewired(&after);
    lawful(&pod, &after);
}

#[test]
fn three_make_a_chain() {
    let pod = asking(app(), &["rate-limit", "https", "cache"]);
    let after = injected(&world(), &pod);
    assert_eq!(holders(&after, "http"), [("https".to_owned(), 8443)]);
    let envoy = after["metadata"]["annotations"]["files.outrigger.dev/https.envoy.yaml"]
        .as_str()
        .expect("its config");
    assert!(
        envoy.contains("address: 127.0.0.1, port_value: 8082"),
        "{envoy}"
    );
    assert_eq!(
        container(&after, "rate-limit")["args"],
        json!(["--to=8081"])
    );
    assert_eq!(container(&after, "cache")["args"], json!(["--to=8080"]));
    assert_eq!(interposed(&after, "https"), record(8443, 8082, &[]));
    assert_eq!(interposed(&after, "rate-limit"), record(8082, 8081, &[]));
    assert_eq!(interposed(&after, "cache"), record(8081, 8080, &PROBES));
    let order: Vec<_> = after["spec"]["initContainers"]
        .as_array()
        .expect("helpers")
        .iter()
        .map(name)
        .collect();
    assert_eq!(order, ["https", "rate-limit", "cache"]);
    app_is_rewired(&after);
    lawful(&pod, &after);
}

#[test]
fn one_more_goes_before_those_that_are_there() {
    let first = asking(app(), &["cache"]);
    let second = asking(injected(&world(), &first), &["rate-limit"]);
    let third = asking(injected(&world(), &second), &["https"]);
    let after = injected(&world(), &third);
    assert_eq!(holders(&after, "http"), [("https".to_owned(), 8443)]);
    assert_eq!(
        container(&after, "rate-limit")["ports"],
        json!([{"containerPort": 8082}])
    );
    assert_eq!(
        container(&after, "rate-limit")["args"],
        json!(["--to=8081"])
    );
    app_is_rewired(&after);
    lawful(&asking(app(), &["cache", "rate-limit", "https"]), &after);
}

#[test]
fn one_more_does_not_go_behind_those_that_are_there() {
    let pod = asking(
        injected(&world(), &asking(app(), &["rate-limit"])),
        &["cache"],
    );
    assert_eq!(
        sentences(&world().inject(&pod)),
        [
            "annotation `ambassador.outrigger.dev/cache`: `cache` belongs inside `rate-limit`, which is injected already: take that out with `outrigger uninject`, then inject both"
        ]
    );
}

#[test]
fn without_a_name_nothing_is_renamed_and_a_warning_says_where_to_point() {
    let mut pod = asking(app(), &["cache", "rate-limit", "https"]);
    pod["spec"]["containers"][1] =
        json!({"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]});
    let warnings: Vec<_> = world().inject(&pod).warnings().map(str::to_owned).collect();
    let after = injected(&world(), &pod);
    assert_eq!(after["spec"]["containers"][1], pod["spec"]["containers"][1]);
    assert_eq!(
        container(&after, "rate-limit")["args"],
        json!(["--to=8081"])
    );
    assert_eq!(interposed(&after, "cache").name, None);
    // Only the outermost is where a Service has to point.
    assert_eq!(
        warnings,
        [
            "point the Service's targetPort at 8443: `https` listens there before port 8080, which has no name"
        ]
    );
    lawful(&pod, &after);
}

#[test]
fn one_without_a_name_warns() {
    let mut pod = asking(app(), &["cache"]);
    pod["spec"]["containers"][1] =
        json!({"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]});
    assert_eq!(
        world().inject(&pod).warnings().collect::<Vec<_>>(),
        [
            "point the Service's targetPort at 8081: `cache` listens there before port 8080, which has no name"
        ]
    );
}

#[test]
fn nobody_stands_before_a_pod_of_the_hosts_network() {
    let mut pod = asking(app(), &["cache"]);
    pod["spec"]["hostNetwork"] = json!(true);
    assert_eq!(
        sentences(&world().inject(&pod)),
        [
            "annotation `ambassador.outrigger.dev/cache`: `cache` cannot stand before a port of a Pod with `hostNetwork: true`: everyone on the node reaches the app past it"
        ]
    );
}

#[test]
fn nobody_stands_before_a_pod_without_ports() {
    let mut pod = asking(app(), &["cache"]);
    pod["spec"]["containers"][1] = json!({"name": "app", "image": "app:1"});
    assert_eq!(
        sentences(&world().inject(&pod)),
        [
            "annotation `ambassador.outrigger.dev/cache`: `cache` finds no port to stand before: no app container declares one; declare `ports: [{name: http, containerPort: …}]` or give the number as a parameter"
        ]
    );
}

/// HTTP/3: the same number over UDP, in either order.
#[test]
fn the_same_number_over_udp_is_another_port() {
    for udp in [0, 1] {
        let mut pod = asking(app(), &["cache"]);
        let mut ports = vec![json!({"containerPort": 8080, "name": "http"})];
        ports.insert(
            udp,
            json!({"containerPort": 8080, "protocol": "UDP", "name": "quic"}),
        );
        pod["spec"]["containers"][1]["ports"] = json!(ports);
        pod["spec"]["containers"][1]["livenessProbe"] = json!({"tcpSocket": {"port": 8080}});
        let after = injected(&world(), &pod);
        assert_eq!(holders(&after, "http"), [("cache".to_owned(), 8081)]);
        assert_eq!(holders(&after, "quic"), [("app".to_owned(), 8080)]);
        lawful(&pod, &after);
    }
}

#[test]
fn a_port_without_a_name_beside_the_taken_one_gets_none_back() {
    let mut pod = asking(app(), &["cache"]);
    pod["spec"]["containers"][1]["ports"] = json!([{"containerPort": 8080, "name": "http"}, {"containerPort": 8080, "protocol": "UDP"}]);
    pod["spec"]["containers"][1]["livenessProbe"] = json!({"tcpSocket": {"port": 8080}});
    lawful(&pod, &injected(&world(), &pod));
}

/// An interposer may ask itself by the name that it takes over; once another stands before it, it no longer has that name.
#[test]
fn an_inner_interposers_own_probe_does_not_lose_its_port() {
    let mut cache = interposer(30, 8081);
    cache["containers"][0]["ports"][0]["name"] = json!("http");
    cache["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": "http"}});
    let world = World::with([("rate-limit", interposer(20, 8082)), ("cache", cache)]);
    let together = injected(&world, &asking(app(), &["cache", "rate-limit"]));
    let one_by_one = injected(
        &world,
        &asking(
            injected(&world, &asking(app(), &["cache"])),
            &["rate-limit"],
        ),
    );
    for after in [together, one_by_one] {
        assert_eq!(holders(&after, "http"), [("rate-limit".to_owned(), 8082)]);
        let cache = container(&after, "cache");
        let asked = &cache["readinessProbe"]["tcpSocket"]["port"];
        let own = &cache["ports"][0];
        assert!(
            *asked == own["containerPort"] || own.get("name") == Some(asked),
            "{cache}"
        );
    }
}
