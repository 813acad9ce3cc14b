//! `inject`, bytes of a Pod in and bytes of the patch out, beside parsing the same Pod into a `serde_json::Value`.
//!
//! What counts is the ratio of the two within one run; machines differ, and shared ones differ from minute to minute. The table at
//! the end prints the ratios; criterion's own reports hold the times.

// What is expected here is said where it is expected; there is nobody to recover for.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use outrigger::binding::Binding;
use outrigger::catalog::{Catalog, Namespace, Place};
use outrigger::inject::{Context, inject};
use outrigger::pattern::Pattern;
use serde_json::{Value, json};

mod pods;

use pods::pod;

/// A sidecar with one config file of about 5 KiB that uses its parameters, like the built-ins.
fn pattern(name: &str, port: u16) -> Pattern {
    let mut file = String::from("listen: {{ ports.admin }}\nname: {{ params.name | json }}\n");
    while file.len() < 5 * 1024 {
        file.push_str("- {address: {socket_address: {address: 127.0.0.1, port_value: {{ params.port }}}}, metadata: {filter: {key: value}}}\n");
    }
    let object = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Pattern", "metadata": {"name": name}, "spec": {
        "role": "sidecar",
        "params": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 253, "examples": ["x"]},
            "port": {"type": "integer", "minimum": 1024, "maximum": 65535, "default": port},
            "timeout": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$", "default": "5m"}}},
        "ports": {"admin": "auto"},
        "containers": [{"image": "engine:1", "args": ["-c", "/etc/outrigger/engine.yaml", "--port", "{{ params.port }}"],
            "ports": [{"containerPort": "{{ params.port }}"}],
            "startupProbe": {"httpGet": {"port": "{{ params.port }}", "path": "/ready"}},
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}],
        "files": {"engine.yaml": file}
    }});
    Pattern::load(&object, Place::Namespace("outrigger-system".to_owned()))
        .expect("the benchmark's pattern loads")
}

fn annotations(patterns: usize) -> Vec<(String, String)> {
    (0..patterns)
        .map(|index| {
            (
                format!("sidecar.outrigger.dev/engine-{index}"),
                "{name: shop}".to_owned(),
            )
        })
        .collect()
}

fn catalog(bindings: usize, conditions: usize) -> Catalog {
    let mut catalog = Catalog::default();
    (0..8)
        .for_each(|index| catalog.add_pattern(pattern(&format!("engine-{index}"), 20_000 + index)));
    for index in 0..bindings {
        let spec = json!({"pattern": "https", "match": {"podSelector": {"matchLabels": {"team": format!("team-{index}"), "tier": "web"}}}});
        let object = json!({"metadata": {"name": format!("rejected-{index}")}, "spec": spec});
        catalog.add_binding(
            Binding::load(&object, "outrigger-system", "outrigger-system").expect("a binding"),
        );
    }
    for index in 0..conditions {
        let condition = json!({"name": "image", "expression": format!("object.spec.containers.exists(c, c.image.startsWith('nowhere-{index}'))")});
        let spec = json!({"pattern": "https", "match": {"matchConditions": [condition]}});
        let object = json!({"metadata": {"name": format!("condition-{index}")}, "spec": spec});
        catalog.add_binding(
            Binding::load(&object, "outrigger-system", "outrigger-system").expect("a binding"),
        );
    }
    catalog
}

struct Case {
    name: String,
    pod: Vec<u8>,
    catalog: Catalog,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case =
        |name: String, size: usize, patterns: usize, bindings: usize, conditions: usize| {
            cases.push(Case {
                name,
                pod: pod(size * 1024, &annotations(patterns)),
                catalog: catalog(bindings, conditions),
            });
        };
    for size in [4, 16, 64, 256] {
        case(format!("one pattern into {size} KiB"), size, 1, 0, 0);
    }
    for patterns in [3, 8] {
        case(
            format!("{patterns} patterns into 16 KiB"),
            16,
            patterns,
            0,
            0,
        );
    }
    for bindings in [1, 100, 1000] {
        case(
            format!("one pattern into 16 KiB, {bindings} bindings rejected"),
            16,
            1,
            bindings,
            0,
        );
    }
    for conditions in [1, 100] {
        case(
            format!("one pattern into 16 KiB, {conditions} CEL conditions"),
            16,
            1,
            0,
            conditions,
        );
    }
    case("nothing into 16 KiB".to_owned(), 16, 0, 0, 0);
    cases
}

fn run(case: &Case, namespace: &Namespace) -> Vec<u8> {
    let context = Context {
        namespace,
        catalog: &case.catalog,
    };
    inject(black_box(&case.pod), &context)
        .expect("a Pod")
        .patch
        .to_json()
}

fn parse(case: &Case) -> Value {
    serde_json::from_slice(black_box(&case.pod)).expect("JSON")
}

/// The median time of `work`, with `other` run in turn, so that both see the same machine.
fn paired(mut work: impl FnMut(), mut other: impl FnMut()) -> (Duration, Duration) {
    let mut times = (Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) || times.0.len() < 50 {
        let begin = Instant::now();
        work();
        times.0.push(begin.elapsed());
        let begin = Instant::now();
        other();
        times.1.push(begin.elapsed());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    (median(&mut times.0), median(&mut times.1))
}

fn main() {
    let namespace = Namespace {
        name: "shop".to_owned(),
        ..Namespace::default()
    };
    // The filter that criterion takes narrows the table, too.
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let mut cases = cases();
    cases.retain(|case| case.name.contains(&filter));
    let mut criterion = Criterion::default().configure_from_args();
    for case in &cases {
        let mut group = criterion.benchmark_group(&case.name);
        group.throughput(Throughput::Bytes(case.pod.len() as u64));
        group.bench_function("inject", |bencher| bencher.iter(|| run(case, &namespace)));
        group.bench_function("parse", |bencher| bencher.iter(|| parse(case)));
        group.finish();
    }
    criterion.final_summary();
    println!(
        "\n{:<58} {:>9} {:>9} {:>9} {:>7}",
        "case", "Pod", "inject", "parse", "ratio"
    );
    for case in &cases {
        let (inject, parse) = paired(
            || drop(black_box(run(case, &namespace))),
            || drop(black_box(parse(case))),
        );
        let ratio = inject.as_secs_f64() / parse.as_secs_f64();
        println!(
            "{:<58} {:>5} KiB {:>6} us {:>6} us {ratio:>7.2}",
            case.name,
            case.pod.len() / 1024,
            inject.as_micros(),
            parse.as_micros()
        );
    }
}
