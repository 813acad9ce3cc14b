//! What a Pod's author may try against a Required binding: the status is forged, or stands over a Pod that was changed after it was
//! injected. Each is denied; what the API server and other webhooks add is not.

use outrigger::binding::Binding;
use outrigger::catalog::{Catalog, Namespace};
use outrigger::inject::{Context, Outcome, Verdict, inject};
use serde_json::{Value, json};

/// `https` is required with its port, and `redis-metrics`.
fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    for (pattern, params) in [
        ("https", json!({"secretName": "tls"})),
        ("redis-metrics", json!({})),
    ] {
        let object = json!({"metadata": {"name": pattern}, "spec": {"pattern": pattern, "params": params, "enforcement": "Required"}});
        catalog.add_binding(
            Binding::load(&object, "outrigger-system", "outrigger-system").expect("a binding"),
        );
    }
    catalog
}

fn run(pod: &Value) -> Outcome {
    let namespace = Namespace {
        name: "shop".to_owned(),
        ..Namespace::default()
    };
    inject(
        pod.to_string().as_bytes(),
        &Context {
            namespace: &namespace,
            catalog: &catalog(),
        },
    )
    .expect("a Pod")
}

/// A Pod as it is after its injection.
fn injected() -> Value {
    let mut pod = json!({"metadata": {"name": "shop"}, "spec": {"containers": [
        {"name": "app", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080}], "readinessProbe": {"httpGet": {"port": "http"}}},
        {"name": "other", "image": "other:1"}
    ]}});
    let outcome = run(&pod);
    assert_eq!(outcome.denials().count(), 0, "{outcome:?}");
    let patch: json_patch::Patch =
        serde_json::from_slice(&outcome.patch.to_json()).expect("a patch");
    json_patch::patch(&mut pod, &patch).expect("it applies");
    pod
}

/// The helper of that name.
fn helper<'p>(pod: &'p mut Value, name: &str) -> &'p mut Value {
    let helpers = pod["spec"]["initContainers"]
        .as_array_mut()
        .expect("helpers");
    helpers
        .iter_mut()
        .find(|helper| helper["name"] == name)
        .expect("the helper")
}

fn add(list: &mut Value, entry: Value) {
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().expect("a list").push(entry);
}

fn is_denied(what: &str, change: impl FnOnce(&mut Value)) {
    let mut pod = injected();
    change(&mut pod);
    let outcome = run(&pod);
    let reasons: Vec<_> = outcome
        .denials()
        .map(|decision| decision.reason.code())
        .collect();
    assert!(!reasons.is_empty(), "{what}: {:?}", outcome.decisions);
    assert!(outcome.patch.is_empty(), "{what}");
    assert!(
        reasons
            .iter()
            .all(|reason| ["not-as-required", "additions-missing", "conflict"].contains(reason)),
        "{what}: {reasons:?}"
    );
}

fn is_carried(what: &str, change: impl FnOnce(&mut Value)) {
    let mut pod = injected();
    change(&mut pod);
    let outcome = run(&pod);
    assert!(
        outcome
            .decisions
            .iter()
            .all(|decision| decision.verdict == Verdict::Carried),
        "{what}: {:?}",
        outcome.decisions
    );
    assert!(outcome.patch.is_empty(), "{what}");
}

#[test]
fn an_untouched_pod_is_carried() {
    is_carried("nothing", |_| {});
}

#[test]
fn what_others_add_is_no_attack() {
    is_carried(
        "an injector that gives every container a variable and a mount",
        |pod| {
            for list in ["containers", "initContainers"] {
                for container in pod["spec"][list].as_array_mut().expect("containers") {
                    add(
                        &mut container["env"],
                        json!({"name": "REGION", "value": "north"}),
                    );
                    add(
                        &mut container["volumeMounts"],
                        json!({"name": "ca", "mountPath": "/etc/ca"}),
                    );
                }
            }
            add(
                &mut pod["spec"]["volumes"],
                json!({"name": "ca", "emptyDir": {}}),
            );
        },
    );
    is_carried("the API server's defaults", |pod| {
        let helper = helper(pod, "https");
        helper["terminationMessagePath"] = json!("/dev/termination-log");
        helper["imagePullPolicy"] = json!("IfNotPresent");
        helper["startupProbe"]["successThreshold"] = json!(1);
    });
}

#[test]
fn a_helper_that_was_changed() {
    is_denied("another image", |pod| {
        helper(pod, "https")["image"] = json!("evil:1");
    });
    is_denied("another command", |pod| {
        helper(pod, "redis-metrics")["command"] = json!(["sleep", "infinity"]);
    });
    is_denied("another argument", |pod| {
        add(&mut helper(pod, "https")["args"], json!("--mode=validate"));
    });
    is_denied("a hook", |pod| {
        helper(pod, "https")["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh"]}}});
    });
    is_denied("no readiness", |pod| {
        helper(pod, "https")
            .as_object_mut()
            .expect("a container")
            .remove("readinessProbe");
    });
    is_denied("variables from elsewhere", |pod| {
        helper(pod, "redis-metrics")["envFrom"] = json!([{"configMapRef": {"name": "x"}}]);
    });
}

#[test]
fn variables_beside_ours() {
    is_denied("the same name again", |pod| {
        add(
            &mut helper(pod, "redis-metrics")["env"],
            json!({"name": "REDIS_ADDR", "value": "redis://evil:1"}),
        );
    });
    is_denied("a library to load", |pod| {
        add(
            &mut helper(pod, "https")["env"],
            json!({"name": "LD_PRELOAD", "value": "/evil.so"}),
        );
    });
}

#[test]
fn mounts_beside_ours() {
    for path in [
        "/etc/outrigger/envoy.yaml",
        "/etc/outrigger/",
        "/etc//outrigger",
        "/etc/./outrigger/x",
        "/etc/x/../outrigger",
        "/etc",
        "/usr/local/bin",
        "/",
    ] {
        is_denied(path, |pod| {
            add(
                &mut helper(pod, "https")["volumeMounts"],
                json!({"name": "evil", "mountPath": path}),
            );
            add(
                &mut pod["spec"]["volumes"],
                json!({"name": "evil", "emptyDir": {}}),
            );
        });
    }
}

#[test]
fn volumes_and_files_that_were_changed() {
    is_denied("another file over ours", |pod| {
        let volumes = pod["spec"]["volumes"].as_array_mut().expect("volumes");
        let files = volumes
            .iter_mut()
            .find(|volume| volume["name"] == "outrigger-https-files")
            .expect("the files");
        add(
            &mut files["downwardAPI"]["items"],
            json!({"path": "envoy.yaml", "fieldRef": {"fieldPath": "metadata.annotations['evil']"}}),
        );
    });
    is_denied("another text", |pod| {
        pod["metadata"]["annotations"]["files.outrigger.dev/https.envoy.yaml"] = json!("admin: {}");
    });
}

#[test]
fn a_port_that_took_its_name_back() {
    is_denied("the Service would go past the helper", |pod| {
        pod["spec"]["containers"][0]["ports"][0]["name"] = json!("http");
    });
}

#[test]
fn a_status_without_what_it_records() {
    is_denied("no containers", |pod| {
        pod["spec"]["initContainers"] = json!([]);
    });
    let forged = json!({"version": 1, "instances": {"https": {"containers": ["https"]}, "redis-metrics": {"containers": ["redis-metrics"]}}});
    let mut pod = json!({"metadata": {"annotations": {"outrigger.dev/status": forged.to_string()}}, "spec": {"containers": [
        {"name": "https", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080}]}, {"name": "redis-metrics", "image": "x"}]}});
    assert!(run(&pod).denials().next().is_some());
    pod["metadata"]["annotations"] = json!({"sidecar.outrigger.dev/https": "false"});
    pod["spec"]["containers"] = json!([{"name": "app", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080}]}]);
    assert_eq!(run(&pod).denials().count(), 0);
    assert!(!run(&pod).patch.is_empty(), "declining does not help");
}
