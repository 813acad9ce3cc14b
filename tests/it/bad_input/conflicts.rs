//! What cannot be done for this Pod although its annotations are right.

use super::{HTTP, PLAIN, among, denies, denies_params, pod, refuses};
use crate::support::assert_run;

const METRICS: &str = "adapter.outrigger.dev/redis-metrics";
const HTTPS: &str = "sidecar.outrigger.dev/https";

/// A pattern that gives the app a variable and a mount, and names a port of its own.
const TRACE: &str = "\
apiVersion: outrigger.dev/v1alpha1
kind: Pattern
metadata: {name: trace}
spec:
  role: ambassador
  containers:
  - image: trace:1
    ports: [{name: trace, containerPort: 9411}]
  volumes: [{name: spool, emptyDir: {}}]
  app:
    env: [{name: TRACE_DIR, value: /var/trace}]
    volumeMounts: [{name: spool, mountPath: /var/trace}]
";

#[track_caller]
fn denies_trace(spec: &str, sentence: &str) {
    let pod = pod("ambassador.outrigger.dev/trace: ''", spec);
    let run = among(
        &[
            ("pod.yaml", pod.as_bytes()),
            ("trace.yaml", TRACE.as_bytes()),
        ],
        &["inject", "-f", "pod.yaml", "--context", "trace.yaml"],
    );
    let stderr = format!(
        "error: pod.yaml:6:5: Pod shop is denied: annotation `ambassador.outrigger.dev/trace`: {sentence}\n"
    );
    assert_run(&run, 1, "", &stderr);
}

#[test]
fn a_container_of_that_name() {
    denies_params(
        METRICS,
        "",
        "spec:\n  containers:\n  - {name: redis-metrics, image: mine:1}\n",
        "the Pod has a container `redis-metrics` already: rename it, or ask for `redis-metrics.2` instead",
    );
}

#[test]
fn a_volume_of_that_name() {
    let volume =
        "  volumes:\n  - {name: outrigger-redis-metrics-no-token, emptyDir: {medium: Memory}}\n";
    let pod = pod(&format!("{METRICS}: ''"), &format!("{PLAIN}{volume}"));
    refuses(
        &pod,
        "error: pod.yaml:5:3: Pod shop is denied: volume `outrigger-redis-metrics-no-token` is one of Outrigger's, but annotation `outrigger.dev/status` does not record it: a copy made without its annotations would hang; use `kubectl debug --copy-to … --keep-annotations`, or `outrigger uninject` before copying\n",
    );
}

#[test]
fn something_else_mounted_there() {
    denies_trace(
        "spec:\n  containers:\n  - {name: app, image: shop:1, volumeMounts: [{name: data, mountPath: /var/trace}]}\n  volumes: [{name: data}]\n",
        "container `app` has something else mounted at `/var/trace`",
    );
    denies_trace(
        "spec:\n  containers:\n  - {name: app, image: shop:1, volumeDevices: [{name: data, devicePath: /var/trace}]}\n  volumes: [{name: data}]\n",
        "container `app` has a device at `/var/trace`",
    );
}

#[test]
fn another_value_for_the_variable() {
    denies_trace(
        "spec:\n  containers:\n  - {name: app, image: shop:1, env: [{name: TRACE_DIR, value: /tmp}]}\n",
        "container `app` has another value for the variable `TRACE_DIR`",
    );
}

#[test]
fn a_port_of_that_number_or_name() {
    denies_trace(
        "spec:\n  containers:\n  - {name: app, image: shop:1, ports: [{containerPort: 9411}]}\n",
        "container `trace` listens on port 9411, which `app` has already: choose another by a parameter",
    );
    denies_trace(
        "spec:\n  containers:\n  - {name: app, image: shop:1, ports: [{name: trace, containerPort: 80}]}\n",
        "container `trace` calls a port `trace`, as `app` does: a Service would not know whom it means",
    );
}

#[test]
fn an_interposer_without_a_port() {
    denies_params(
        HTTPS,
        "{secretName: shop-tls}",
        PLAIN,
        "`https` finds no port to stand before: no app container declares one; declare `ports: [{name: http, containerPort: …}]` or give the number as a parameter",
    );
    denies_params(
        HTTPS,
        "{secretName: shop-tls, appPort: web}",
        &format!("{HTTP}    - {{name: admin, containerPort: 9090}}\n"),
        "`https` finds no port to stand before: none is called `web`; name one as a parameter, `http` or `admin`",
    );
    denies_params(
        HTTPS,
        "{secretName: shop-tls, appPort: 99999}",
        HTTP,
        "`https` finds no port to stand before: `99999` is out of range, expected 1 to 65535",
    );
}

/// It would send what it gets to itself.
#[test]
fn an_interposer_before_its_own_port() {
    denies_params(
        HTTPS,
        "{secretName: shop-tls, port: 8443, appPort: 8443}",
        PLAIN,
        "it would listen on port 8443 and send what it gets to itself: choose another by a parameter",
    );
}

#[test]
fn an_interposer_on_the_nodes_network() {
    denies_params(
        HTTPS,
        "{secretName: shop-tls}",
        &HTTP.replace("spec:\n", "spec:\n  hostNetwork: true\n"),
        "`https` cannot stand before a port of a Pod with `hostNetwork: true`: everyone on the node reaches the app past it",
    );
}

#[test]
fn a_config_file_brought_along() {
    let brought = |value: &str| {
        format!("'{{secretName: shop-tls}}'\n    files.outrigger.dev/https.sds.yaml: {value}")
    };
    denies(
        HTTPS,
        &brought("'resources: []'"),
        HTTP,
        "annotation `sidecar.outrigger.dev/https`: annotation `files.outrigger.dev/https.sds.yaml` is there with another text: remove it, Outrigger writes it",
    );
    denies(
        HTTPS,
        &brought("5"),
        HTTP,
        "annotation `sidecar.outrigger.dev/https`: annotation `files.outrigger.dev/https.sds.yaml` is there with another text: remove it, Outrigger writes it",
    );
}

#[test]
fn more_annotations_than_a_pod_may_have() {
    let big = format!("''\n    example.com/big: {}", "x".repeat(256 * 1024 - 100));
    let pod = pod(&format!("{METRICS}: {big}"), PLAIN);
    let run = among(
        &[("pod.yaml", pod.as_bytes())],
        &["inject", "-f", "pod.yaml"],
    );
    // The number counts the status, too, whose length a revision of the pattern may change.
    let (before, rest) = run.stderr.split_once(" would be ").expect(&run.stderr);
    assert_eq!(
        before,
        "error: pod.yaml:6:5: Pod shop is denied: annotation `adapter.outrigger.dev/redis-metrics`: the Pod's annotations"
    );
    let (size, after) = rest.split_once(' ').expect(rest);
    assert!(size.parse::<usize>().expect(size) > 262_144);
    assert_eq!(after, "bytes, expected at most 262144\n");
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
}

#[test]
fn a_status_that_outrigger_did_not_write() {
    denies(
        "outrigger.dev/status",
        "garbage",
        PLAIN,
        "annotation `outrigger.dev/status` is not a status (expected value at line 1 column 1): leave it to Outrigger: remove it, or take it over unchanged together with what it records",
    );
    denies(
        "outrigger.dev/status",
        r#"'{"version":1,"instances":{"https":{"containers":["app"]}}}'"#,
        PLAIN,
        "annotation `outrigger.dev/status` says that `https` added `app`, which it cannot have: remove the annotation",
    );
}

#[test]
fn uninject_of_a_status_that_outrigger_did_not_write() {
    let pod = pod(
        r#"outrigger.dev/status: '{"version":1,"instances":{"https":{"containers":["app"]}}}'"#,
        PLAIN,
    );
    let run = among(
        &[("pod.yaml", pod.as_bytes())],
        &["uninject", "-f", "pod.yaml"],
    );
    assert_run(
        &run,
        1,
        "",
        "error: pod.yaml:6:5: Pod shop: annotation `outrigger.dev/status` says that `https` added `app`, which it cannot have: remove the annotation\n",
    );
}
