//! Logs: one line a request, with names and codes; nothing of what a Pod keeps to itself, at any level.

use serde_json::{Value, json};

use crate::support::server::{Answer, Connection, Server, answer, exchange, pod, request, review};

/// In everything that must not be logged, and in nothing else.
const CANARY: &str = "c4n4ry";

fn start(format: &str) -> Server {
    Server::start_with(&[
        "--log-format",
        format,
        "--log-level",
        "trace",
        "--shutdown-delay",
        "0s",
    ])
}

/// A Pod that is full of secrets, with these annotations besides.
fn full_of_secrets(annotations: &Value) -> Value {
    let mut pod = pod(annotations);
    pod["metadata"]["annotations"]["example.com/note"] = json!("c4n4ry-note");
    pod["metadata"]["labels"] = json!({"app": "c4n4ry-label"});
    pod["spec"]["volumes"] = json!([
        {"name": "tls", "secret": {"secretName": "c4n4ry-volume"}},
        {"name": "etc", "configMap": {"name": "c4n4ry-map"}}]);
    pod["spec"]["imagePullSecrets"] = json!([{"name": "c4n4ry-pull"}]);
    pod["spec"]["serviceAccountName"] = json!("c4n4ry-account");
    pod["spec"]["nodeSelector"] = json!({"pool": "c4n4ry-pool"});
    let app = &mut pod["spec"]["containers"][0];
    app["image"] = json!("registry.example/c4n4ry-image:1");
    app["command"] = json!(["/app", "--token=c4n4ry-command"]);
    app["args"] = json!(["--password", "c4n4ry-argument"]);
    app["env"] = json!([
        {"name": "PASSWORD", "value": "c4n4ry-variable"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "c4n4ry-reference", "key": "k"}}}]);
    app["livenessProbe"] = json!({"httpGet": {"port": "http", "path": "/c4n4ry-path"}});
    pod
}

/// Annotations with secrets in them, and whether they are accepted.
fn annotations() -> Vec<(Value, bool)> {
    let redis = |value: &str| json!({"adapter.outrigger.dev/redis-metrics": value});
    vec![
        (
            redis("{address: 'redis://:c4n4ry-password@redis:6379'}"),
            true,
        ),
        (
            redis("{user: c4n4ry-user, passwordSecret: {name: c4n4ry-secret, key: c4n4ry-key}}"),
            true,
        ),
        (
            json!({"sidecar.outrigger.dev/https": "{secretName: c4n4ry-tls}"}),
            true,
        ),
        (redis("{port: c4n4ry-port}"), false),
        (redis("{address: c4n4ry-address}"), false),
        (redis("{c4n4ry-parameter: 1}"), false),
        (redis("{user: [c4n4ry-broken"), false),
        (redis("c4n4ry-scalar"), false),
        (redis("{into: [c4n4ry-container]}"), false),
        (redis("{override: {c4n4ry-field: 1}}"), false),
        (
            json!({"sidecar.outrigger.dev/https": "{secretName: C4N4RY, appPort: c4n4ry-app}"}),
            false,
        ),
        (json!({"outrigger.dev/status": "{c4n4ry-status"}), false),
        (
            json!({"outrigger.dev/status": "{\"version\":1,\"instances\":{\"a\":{\"containers\":[\"c4n4ry-gone\"]}}}"}),
            false,
        ),
    ]
}

/// Sends everything that is secret somewhere, and says which answers came.
fn tell_secrets(server: &Server) {
    let mut quoted = 0;
    for (annotations, accepted) in annotations() {
        let body = review("u", &full_of_secrets(&annotations)).to_string();
        let response = server.post("/mutate/annotated", body.as_bytes()).response();
        assert_eq!(response["allowed"], accepted, "{annotations}: {response}");
        quoted += usize::from(
            response["status"]
                .to_string()
                .to_lowercase()
                .contains(CANARY),
        );
    }
    // Denials quote, but only to whoever sent the Pod.
    assert!(quoted > 5, "{quoted}");
    let mut labelled = full_of_secrets(&json!({}));
    labelled["metadata"]["labels"]["outrigger.dev/injection"] = json!("c4n4ry-injection");
    let mut misshapen = full_of_secrets(&json!({}));
    misshapen["spec"]["containers"] = json!("c4n4ry-containers");
    for pod in [labelled, misshapen] {
        let body = review("u", &pod).to_string();
        let answer = server.post("/mutate/cluster?c4n4ry-query", body.as_bytes());
        assert_eq!(answer.response()["allowed"], false);
    }
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"},
        "spec": {"template": full_of_secrets(&json!({"adapter.outrigger.dev/redis-metrics": "{port: c4n4ry-port}"}))}});
    let advice = server.post("/advise", review("u", &deployment).to_string().as_bytes());
    assert!(advice.response()["warnings"].to_string().contains("denied"));
    for unreadable in [
        "{\"c4n4ry-json\": 1",
        "c4n4ry-text",
        "{\"request\": {\"uid\": 5, \"namespace\": \"c4n4ry-shape\"}}",
    ] {
        assert_eq!(
            server
                .post("/mutate/annotated", unreadable.as_bytes())
                .status,
            400
        );
    }
    unusual_requests(server);
}

/// Secrets in paths, heads and where TLS should be.
fn unusual_requests(server: &Server) {
    let send = |bytes: &[u8]| -> Answer {
        let connection: Connection = server.connect();
        exchange(connection, bytes)
    };
    let elsewhere = send(&request("/c4n4ry-path", b"{}"));
    assert_eq!(elsewhere.status, 404);
    let head = "POST /mutate/annotated HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer c4n4ry-bearer\r\n";
    let text =
        send(format!("{head}Content-Type: c4n4ry/type\r\nContent-Length: 0\r\n\r\n").as_bytes());
    assert_eq!(text.status, 415);
    let broken = send(b"POST c4n4ry-head\r\n\r\n");
    assert_eq!(broken.status, 400);
    let mut plain = std::net::TcpStream::connect(server.webhook).expect("the port is open");
    std::io::Write::write_all(&mut plain, b"GET /c4n4ry-plain HTTP/1.1\r\n\r\n").expect("it goes");
    // A TLS alert, or the end.
    let _ = answer(&mut plain);
}

#[test]
fn no_secret_is_logged_in_either_format() {
    for format in ["json", "text"] {
        let server = start(format);
        tell_secrets(&server);
        let log = server.whole_log();
        for line in log.lines() {
            assert!(!line.to_lowercase().contains(CANARY), "{line}");
        }
        assert!(
            log.matches("reviewed").count() >= annotations().len() + 4,
            "{log}"
        );
    }
}

/// The lines `reviewed` of that uid, without what differs from run to run.
fn reviewed(server: &Server, uid: &str) -> Vec<Value> {
    server
        .whole_log()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"))
        .filter(|line| line["message"] == "reviewed" && line["uid"] == uid)
        .map(|mut line| {
            let fields = line.as_object_mut().expect("an object");
            assert!(fields.remove("timestamp").is_some_and(|at| at.is_string()));
            assert!(fields.remove("micros").is_some_and(|time| time.is_u64()));
            line
        })
        .collect()
}

#[test]
fn one_line_a_request_says_what_became_of_it() {
    let server = start("json");
    let asking = |value: &str| {
        pod(
            &json!({"adapter.outrigger.dev/redis-metrics": value, "sidecar.outrigger.dev/https": "false"}),
        )
    };
    let plain = pod(&json!({}));
    for (uid, path, pod, name, verdict, instances) in [
        (
            "u-1",
            "annotated",
            asking(""),
            "shop-",
            "injected",
            "https=skipped/declined-by-pod redis-metrics=injected/asked",
        ),
        (
            "u-2",
            "cluster",
            asking("{port: 80}"),
            "cart",
            "denied",
            "https=skipped/declined-by-pod redis-metrics=denied/invalid-parameters",
        ),
        ("u-3", "namespace", plain, "shop-", "unchanged", ""),
    ] {
        let mut review = review(uid, &pod);
        // The API server tells the name where there is one yet.
        review["request"]["name"] = json!(name.trim_end_matches("shop-"));
        let body = review.to_string();
        let response = server
            .post(&format!("/mutate/{path}"), body.as_bytes())
            .response();
        let patch = response["patch"].as_str().unwrap_or_default();
        let patch = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, patch)
            .expect("base64");
        let expected = json!({"level": "INFO", "message": "reviewed", "uid": uid, "webhook": path, "namespace": "shop",
            "kind": "Pod", "name": name, "operation": "CREATE", "dry_run": false, "verdict": verdict,
            "instances": instances, "bytes": body.len(), "patch_bytes": patch.len()});
        assert_eq!(reviewed(&server, uid), [expected]);
    }
}

#[test]
fn a_request_that_is_none_of_ours_has_its_line_too() {
    let server = start("json");
    let mut review = review("u-4", &pod(&json!({})));
    review["request"]["operation"] = json!("DELETE");
    review["request"]["object"] = Value::Null;
    review["request"]["dryRun"] = json!(true);
    let body = review.to_string();
    server.post("/mutate/annotated", body.as_bytes());
    let expected = json!({"level": "INFO", "message": "reviewed", "uid": "u-4", "webhook": "annotated", "namespace": "shop",
        "kind": "Pod", "name": "", "operation": "DELETE", "dry_run": true, "verdict": "ignored",
        "instances": "", "bytes": body.len(), "patch_bytes": 0});
    assert_eq!(reviewed(&server, "u-4"), [expected]);
}

/// Breaks out of a line, of quotes and of a terminal, if anything lets it.
const HOSTILE: &str = "x\"\n2026-01-01T00:00:00.000000Z  INFO reviewed uid=\"forged\"\r\u{85}\u{2028}\u{1b}[2K\u{1b}]0;t\u{7}\u{9b}31m\u{202e}";

#[test]
fn hostile_names_stay_within_their_line() {
    let server = start("text");
    let mut review = review(
        HOSTILE,
        &pod(&json!({format!("sidecar.outrigger.dev/{HOSTILE}"): ""})),
    );
    review["request"]["namespace"] = json!(HOSTILE);
    review["request"]["name"] = json!(HOSTILE);
    server.post("/mutate/annotated", review.to_string().as_bytes());
    review["request"]["kind"]["kind"] = json!(HOSTILE);
    review["request"]["operation"] = json!(HOSTILE);
    server.post("/mutate/annotated", review.to_string().as_bytes());
    let log = server.whole_log();
    let odd = |character: char| {
        character != '\n'
            && (character.is_control() || matches!(character, '\u{2028}' | '\u{202e}'))
    };
    assert!(!log.contains(odd), "{log:?}");
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("reviewed"))
        .collect();
    // Ours, and the one that `whole_log` waits for.
    assert_eq!(lines.len(), 3, "{log}");
    for line in &lines[..2] {
        assert!(line.contains(" INFO reviewed uid=\"x\\\" "), "{line}");
        assert!(!line.contains(" uid=\"forged\""), "{line}");
    }
}
