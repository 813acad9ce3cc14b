//! The plain port: probes and metrics.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::server::{Answer, Server, asking, eventually, exchange, pod, request, review};

const READY: &str = "[+]certificate ok\n[+]configuration ok\n[+]shutdown ok\nreadyz check passed\n";

/// What a `# TYPE` line may say, as far as we use it, and the endings of its samples.
const TYPES: [(&str, &[&str]); 4] = [
    ("counter", &["_total"]),
    ("gauge", &[""]),
    ("histogram", &["_bucket", "_sum", "_count"]),
    ("info", &["_info"]),
];

fn send(server: &Server, annotations: &Value) -> Answer {
    let body = review("u", &pod(annotations)).to_string();
    server.post("/mutate/annotated", body.as_bytes())
}

#[test]
fn probes() {
    let server = Server::start(&[]);
    let answer = server.get("/livez");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
    let answer = server.get("/readyz");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
    for path in [
        "/readyz?verbose",
        "/readyz?verbose=true",
        "/readyz?a=b&verbose",
    ] {
        eventually(path, || server.get(path).text() == READY);
        let answer = server.get(path);
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .head
                .contains("content-type: text/plain; charset=utf-8")
        );
    }
}

/// A load balancer must not send anything to a server that has not looked at its certificate yet.
#[test]
fn the_first_report_is_whole() {
    for _ in 0..5 {
        let server = Server::start(&[]);
        assert_eq!(server.get("/readyz?verbose").text(), READY);
    }
}

#[test]
fn what_the_admin_port_does_not_do() {
    let server = Server::start(&[]);
    let ask = |request: &[u8]| {
        let stream = std::net::TcpStream::connect(server.admin).expect("the port is open");
        exchange(stream, request).status
    };
    for path in [
        "/",
        "/healthz",
        "/metrics/",
        "/debug/pprof/",
        "/../etc/passwd",
        "/mutate/annotated",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    for path in [
        "/mutate/annotated",
        "/mutate/namespace",
        "/mutate/cluster",
        "/advise",
    ] {
        assert_eq!(ask(&request(path, &asking("u"))), 404, "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics", "/ca.pem"] {
        assert_eq!(ask(&request(path, b"{}")), 405, "{path}");
    }
    // Nor does the webhook port what is for this one.
    let answer = server.post("/metrics", b"{}");
    assert_eq!(answer.status, 404);
}

/// A sample's name, labels and value.
fn sample(line: &str) -> (&str, BTreeMap<&str, &str>, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    let Some((name, labels)) = series.split_once('{') else {
        return (series, BTreeMap::new(), value);
    };
    let labels = labels.strip_suffix('}').expect("a closing brace");
    let pair = |label| {
        let (key, value): (&str, &str) = str::split_once(label, '=').expect("a label");
        let value = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        (key, value.expect("quotes"))
    };
    (name, labels.split(',').map(pair).collect(), value)
}

/// Reads the exposition line by line as OpenMetrics has it; returns the families with their types.
fn families(text: &str) -> BTreeMap<String, String> {
    let lines = text
        .strip_suffix("# EOF\n")
        .expect("`# EOF` at the end")
        .lines();
    let (mut families, mut series) = (BTreeMap::new(), BTreeSet::new());
    let mut current = (String::new(), String::new());
    let mut helped = String::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a text");
            assert!(!help.is_empty() && !families.contains_key(name), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, helped, "HELP comes before TYPE");
            assert!(name.starts_with("outrigger_"), "{line}");
            current = (name.to_owned(), kind.to_owned());
            families.insert(name.to_owned(), kind.to_owned());
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').expect("a unit");
            assert!(
                name == current.0 && name.ends_with(&format!("_{unit}")),
                "{line}"
            );
        } else {
            let (name, labels, value) = sample(line);
            let (_, endings) = TYPES
                .iter()
                .find(|(kind, _)| *kind == current.1)
                .expect("a type of ours");
            let ending = name
                .strip_prefix(&current.0)
                .unwrap_or_else(|| panic!("{line}: no sample of {}", current.0));
            assert!(endings.contains(&ending), "{line}");
            assert!(value >= 0.0, "{line}");
            assert!(
                series.insert((name.to_owned(), format!("{labels:?}"))),
                "twice: {line}"
            );
        }
    }
    families
}

#[test]
fn metrics_are_openmetrics() {
    let server = Server::start(&["--patterns", "patterns"]);
    // The families that have no series before something happens.
    send(&server, &json!({"adapter.outrigger.dev/redis-metrics": ""}));
    server.post("/mutate/annotated", b"{");
    let answer = exchange(
        server.connect(),
        b"POST /advise HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(answer.status, 415);
    eventually("everything was read again", || {
        server.metric("outrigger_certificate_not_after_timestamp_seconds{role=\"ca\"}") > 0.0
    });
    let answer = server.get("/metrics");
    assert!(
        answer
            .head
            .contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let expected = [
        ("outrigger_admission_duration_seconds", "histogram"),
        ("outrigger_admission_requests", "counter"),
        ("outrigger_build", "info"),
        ("outrigger_certificate_not_after_timestamp_seconds", "gauge"),
        ("outrigger_configuration_files", "gauge"),
        ("outrigger_configuration_generation", "gauge"),
        ("outrigger_configuration_objects", "gauge"),
        ("outrigger_connections", "gauge"),
        ("outrigger_decisions", "counter"),
        ("outrigger_events_dropped", "counter"),
        ("outrigger_last_reload_success_timestamp_seconds", "gauge"),
        ("outrigger_panics", "counter"),
        ("outrigger_patch_bytes", "histogram"),
        ("outrigger_rejected", "counter"),
        ("outrigger_request_bytes", "histogram"),
        ("outrigger_requests_in_flight", "gauge"),
    ];
    let expected: BTreeMap<String, String> = expected
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .into();
    assert_eq!(families(&answer.text()), expected);
    let build = format!(
        "outrigger_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert!((server.metric(&build) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_server_that_has_done_nothing_yet_has_metrics_too() {
    let text = Server::start(&[]).get("/metrics").text();
    assert!(families(&text).contains_key("outrigger_panics"), "{text}");
}

#[test]
fn metrics_move_when_they_should() {
    let server = Server::start(&[]);
    let decision =
        |what: &str| format!("outrigger_decisions_total{{pattern=\"redis-metrics\",{what}}}");
    let injected = decision("verdict=\"injected\",reason=\"asked\"");
    let denied = decision("verdict=\"denied\",reason=\"invalid-parameters\"");
    let names = [
        "outrigger_admission_requests_total{webhook=\"annotated\",verdict=\"injected\"}",
        "outrigger_admission_requests_total{webhook=\"annotated\",verdict=\"denied\"}",
        "outrigger_admission_requests_total{webhook=\"annotated\",verdict=\"unreadable\"}",
        &injected,
        &denied,
        "outrigger_patch_bytes_count",
        "outrigger_request_bytes_count",
        "outrigger_admission_duration_seconds_count{stage=\"receive\"}",
        "outrigger_admission_duration_seconds_count{stage=\"decide\"}",
        "outrigger_admission_duration_seconds_count{stage=\"respond\"}",
        "outrigger_panics_total",
    ];
    let values = || names.map(|name| server.metric(name).to_string());
    assert_eq!(values(), ["0"; 11]);
    send(&server, &json!({"adapter.outrigger.dev/redis-metrics": ""}));
    assert_eq!(
        values(),
        ["1", "0", "0", "1", "0", "1", "1", "1", "1", "1", "0"]
    );
    send(
        &server,
        &json!({"adapter.outrigger.dev/redis-metrics": "{port: 80}"}),
    );
    assert_eq!(
        values(),
        ["1", "1", "0", "1", "1", "1", "2", "2", "2", "2", "0"]
    );
    server.post("/mutate/annotated", b"{");
    assert_eq!(
        values(),
        ["1", "1", "1", "1", "1", "1", "3", "3", "2", "2", "0"]
    );
    // Nobody is connected, and nothing is in flight.
    eventually("the connections are gone", || {
        server.metric("outrigger_connections") < 0.5
    });
    assert_eq!(
        server.metric("outrigger_requests_in_flight").to_string(),
        "0"
    );
}

/// A name that a Pod makes up must not become a series that stays until the next restart.
#[test]
fn made_up_names_are_no_label_values() {
    let server = Server::start(&[]);
    let status = |instance: &str| {
        let record = json!({"version": 1, "instances": {instance: {"source": "pod", "pattern": "built-in"}}});
        json!({"outrigger.dev/status": record.to_string()})
    };
    for annotations in [
        json!({"sidecar.outrigger.dev/made-up-1": ""}),
        json!({"sidecar.outrigger.dev/made-up-2": "false"}),
        json!({"sidecar.outrigger.dev/made-up.3": "{into: all}"}),
        json!({"sidecar.outrigger.dev/Made-Up_4": ""}),
        json!({"made-up-5.outrigger.dev/x": ""}),
        json!({"outrigger.dev/made-up-6": ""}),
        status("made-up-7"),
        status("made-up-8.x"),
    ] {
        assert_eq!(send(&server, &annotations).status, 200);
    }
    let text = server.get("/metrics").text();
    let made_up: Vec<&str> = text
        .lines()
        .filter(|line| line.to_lowercase().contains("made-up"))
        .collect();
    assert_eq!(made_up, Vec::<&str>::new());
    assert!(
        text.contains("outrigger_decisions_total{pattern=\"unknown\","),
        "{text}"
    );
}
