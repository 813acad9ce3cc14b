//! The status is the Pod author's to keep, to lose and to forge: what each of that leads to, sentence by sentence.

use outrigger::inject::{Outcome, Verdict};
use outrigger::keys;
use serde_json::{Value, json};

use super::world::World;
use super::{applied, injected, sentences};

/// A pattern with one of everything that a status records.
fn spec() -> Value {
    json!({
        "role": "sidecar",
        "params": {"type": "object", "properties": {"level": {"type": "string", "default": "info"}}},
        "containers": [{"image": "helper:1", "args": ["{{ params.level }}"]}],
        "volumes": [{"name": "out", "emptyDir": {}}],
        "imagePullSecrets": [{"name": "pull"}],
        "podMetadata": {"annotations": {"example.com/scrape": "yes"}, "labels": {"helped": "yes"}},
        "app": {"env": [{"name": "HELPER", "value": "1"}], "volumeMounts": [{"name": "out", "mountPath": "/out"}]},
        "files": {"conf": "level {{ params.level | json }}"},
    })
}

fn world() -> World {
    World::with([("helper", spec())])
}

fn required() -> World {
    world().bound(
        "everywhere",
        json!({"pattern": "helper", "enforcement": "Required"}),
    )
}

fn app() -> Value {
    json!({"metadata": {}, "spec": {"containers": [{"name": "app", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080}], "livenessProbe": {"httpGet": {"port": "http"}}}]}})
}

fn asking() -> Value {
    let mut pod = app();
    pod["metadata"]["annotations"] = json!({"sidecar.outrigger.dev/helper": ""});
    pod
}

/// The injected Pod.
fn carrying() -> Value {
    injected(&world(), &asking())
}

fn with_status(status: impl ToString) -> Value {
    let mut pod = asking();
    pod["metadata"]["annotations"][keys::STATUS] = json!(status.to_string());
    pod
}

/// Something done to a Pod between two calls.
type Change = fn(&mut Value);

/// The one decision that there is, as people see it.
fn only(outcome: &Outcome) -> (Verdict, &str, &str) {
    assert!(outcome.patch.is_empty());
    assert_eq!(outcome.decisions.len(), 1, "{:?}", outcome.decisions);
    let decision = &outcome.decisions[0];
    (decision.verdict, decision.reason.code(), &decision.sentence)
}

fn remove(pod: &mut Value, list: &str, name: &str) {
    let items = pod
        .pointer_mut(list)
        .and_then(Value::as_array_mut)
        .expect("a list");
    let before = items.len();
    items.retain(|item| item["name"] != name);
    assert_eq!(items.len() + 1, before, "`{name}` was there");
}

// Kept.

#[test]
fn a_kept_status_carries() {
    assert_eq!(
        only(&world().inject(&carrying())),
        (
            Verdict::Carried,
            "carried",
            "it is in the Pod already, as the status records"
        )
    );
}

#[test]
fn a_kept_status_of_what_nobody_asks_for_any_more_carries() {
    let mut pod = carrying();
    pod["metadata"]["annotations"]
        .as_object_mut()
        .expect("annotations")
        .remove("sidecar.outrigger.dev/helper");
    assert_eq!(
        only(&world().inject(&pod)),
        (
            Verdict::Carried,
            "carried",
            "it is in the Pod already, as the status records; nobody asks for it any more"
        )
    );
}

#[test]
fn a_copy_with_its_annotations_and_another_name_carries() {
    let mut pod = carrying();
    pod["metadata"]["name"] = json!("shop-copy");
    assert_eq!(only(&world().inject(&pod)).0, Verdict::Carried);
}

// Stale.

#[test]
fn other_parameters_are_outdated() {
    let mut pod = carrying();
    pod["metadata"]["annotations"]["sidecar.outrigger.dev/helper"] = json!("{level: debug}");
    let outcome = world().inject(&pod);
    assert_eq!(
        only(&outcome),
        (
            Verdict::Carried,
            "outdated",
            "it is in the Pod already, but its parameters have changed since"
        )
    );
    assert_eq!(
        outcome.warnings().collect::<Vec<_>>(),
        [
            "`helper` is outdated: its parameters have changed; take it out with `outrigger uninject` and inject again"
        ]
    );
}

#[test]
fn another_revision_of_the_pattern_is_outdated() {
    let mut newer = spec();
    newer["containers"][0]["image"] = json!("helper:2");
    let outcome = World::with([("helper", newer)]).inject(&carrying());
    assert_eq!(
        only(&outcome),
        (
            Verdict::Carried,
            "outdated",
            "it is in the Pod already, but its pattern has changed since"
        )
    );
    assert_eq!(
        outcome.warnings().collect::<Vec<_>>(),
        [
            "`helper` is outdated: its pattern has changed; take it out with `outrigger uninject` and inject again"
        ]
    );
}

#[test]
fn another_revision_of_a_required_pattern_is_denied() {
    let carrying = injected(&required(), &app());
    let mut newer = spec();
    newer["containers"][0]["image"] = json!("helper:2");
    let world = World::with([("helper", newer)]).bound(
        "everywhere",
        json!({"pattern": "helper", "enforcement": "Required"}),
    );
    assert_eq!(
        only(&world.inject(&carrying)),
        (
            Verdict::Denied,
            "not-as-required",
            "`helper` is required, and container `helper` is not as it would be injected: take everything out with `outrigger uninject`, or remove annotation `outrigger.dev/status` and what it records"
        )
    );
}

// Half removed.

/// The denial of a Pod that lacks something of what its status records.
fn half(missing: &str) -> String {
    format!(
        "annotation `outrigger.dev/status` says that `helper` is injected, but {missing} not there: put back what was taken, or take everything out with `outrigger uninject` and inject again"
    )
}

#[test]
fn whatever_is_missing_is_named() {
    let cases: [(&str, Change); 8] = [
        ("`container helper` is", |pod| {
            remove(pod, "/spec/initContainers", "helper");
        }),
        ("`volume outrigger-helper-out` is", |pod| {
            remove(pod, "/spec/volumes", "outrigger-helper-out");
        }),
        ("`image pull secret pull` is", |pod| {
            remove(pod, "/spec/imagePullSecrets", "pull");
        }),
        ("`annotation example.com/scrape` is", |pod| {
            forget(pod, "annotations", "example.com/scrape");
        }),
        ("`annotation files.outrigger.dev/helper.conf` is", |pod| {
            forget(pod, "annotations", "files.outrigger.dev/helper.conf");
        }),
        ("`label helped` is", |pod| forget(pod, "labels", "helped")),
        ("`variable HELPER of app` is", |pod| {
            remove(pod, "/spec/containers/0/env", "HELPER");
        }),
        ("`mount /out of app` is", |pod| {
            remove(
                pod,
                "/spec/containers/0/volumeMounts",
                "outrigger-helper-out",
            );
        }),
    ];
    for (missing, take_out) in cases {
        let mut pod = carrying();
        take_out(&mut pod);
        let outcome = world().inject(&pod);
        assert_eq!(
            only(&outcome),
            (Verdict::Denied, "additions-missing", half(missing).as_str())
        );
    }
}

fn forget(pod: &mut Value, field: &str, key: &str) {
    let gone = pod["metadata"][field]
        .as_object_mut()
        .expect("a mapping")
        .remove(key);
    assert!(gone.is_some(), "`{key}` was there");
}

#[test]
fn all_that_is_missing_is_in_one_sentence() {
    let mut pod = asking();
    pod["metadata"]["annotations"][keys::STATUS] =
        carrying()["metadata"]["annotations"][keys::STATUS].clone();
    let all = "`container helper`, `volume outrigger-helper-out`, `volume outrigger-helper-files`, `volume outrigger-helper-no-token`, `image pull secret pull`, `annotation example.com/scrape`, `annotation files.outrigger.dev/helper.conf`, `label helped`, `variable HELPER of app` and `mount /out of app` are";
    assert_eq!(sentences(&world().inject(&pod)), [half(all)]);
}

#[test]
fn a_port_that_took_its_name_back_is_missing() {
    let asking = |pod: &mut Value| {
        pod["metadata"]["annotations"] = json!({"sidecar.outrigger.dev/https": "{secretName: tls}"})
    };
    let mut pod = app();
    asking(&mut pod);
    let mut pod = injected(&World::default(), &pod);
    pod["spec"]["containers"][0]["ports"][0]["name"] = json!("http");
    assert_eq!(
        sentences(&World::default().inject(&pod)),
        [half("`the take-over of port http of app` is").replace("`helper`", "`https`")]
    );
}

#[test]
fn what_nobody_asks_for_any_more_must_be_there_too() {
    let mut pod = carrying();
    forget(&mut pod, "annotations", "sidecar.outrigger.dev/helper");
    remove(&mut pod, "/spec/initContainers", "helper");
    assert_eq!(
        sentences(&world().inject(&pod)),
        [half("`container helper` is")]
    );
}

// Copied.

#[test]
fn a_copy_without_its_annotations_is_denied() {
    let mut pod = carrying();
    pod["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("annotations");
    assert_eq!(
        only(&world().inject(&pod)),
        (
            Verdict::Denied,
            "copied-without-status",
            "volume `outrigger-helper-out` is one of Outrigger's, but annotation `outrigger.dev/status` does not record it: a copy made without its annotations would hang; use `kubectl debug --copy-to … --keep-annotations`, or `outrigger uninject` before copying"
        )
    );
}

#[test]
fn a_status_copied_into_another_pod_is_denied() {
    let status = carrying()["metadata"]["annotations"][keys::STATUS].clone();
    let pod = with_status(status.as_str().expect("a status"));
    assert!(sentences(&world().inject(&pod))[0].starts_with(
        "annotation `outrigger.dev/status` says that `helper` is injected, but `container helper`"
    ));
}

// Forged.

#[test]
fn a_status_that_is_none_is_denied() {
    let hint =
        "leave it to Outrigger: remove it, or take it over unchanged together with what it records";
    for (status, sentence) in [
        ("nonsense".to_owned(), format!("annotation `outrigger.dev/status` is not a status (expected ident at line 1 column 2): {hint}")),
        (json!({"version": 2, "instances": {}}).to_string(), format!("annotation `outrigger.dev/status` has version `2`, expected `1`: {hint}")),
        (
            json!({"version": 1, "instances": {"helper": {"containers": ["app"]}}}).to_string(),
            "annotation `outrigger.dev/status` says that `helper` added `app`, which it cannot have: remove the annotation".to_owned(),
        ),
        (
            json!({"version": 1, "instances": {"helper": {"volumes": ["data"]}}}).to_string(),
            "annotation `outrigger.dev/status` says that `helper` added `data`, which it cannot have: remove the annotation".to_owned(),
        ),
        (
            json!({"version": 1, "instances": {"helper": {"containers": ["helper"]}}}).to_string(),
            half("`container helper` is"),
        ),
    ] {
        let outcome = world().inject(&with_status(status));
        assert!(outcome.patch.is_empty());
        assert_eq!(sentences(&outcome), [sentence]);
    }
}

#[test]
fn a_status_that_is_no_string_is_denied() {
    let mut pod = asking();
    pod["metadata"]["annotations"][keys::STATUS] = json!({"version": 1});
    assert_eq!(
        sentences(&world().inject(&pod)),
        ["annotation `outrigger.dev/status` is not a string"]
    );
}

/// Whoever asks for a helper may as well forge one; whoever is required to have it may not.
#[test]
fn an_empty_record_does_for_what_is_asked_and_not_for_what_is_required() {
    let forged = with_status(json!({"version": 1, "instances": {"helper": {}}}));
    assert_eq!(only(&world().inject(&forged)).0, Verdict::Carried);
    assert_eq!(
        only(&required().inject(&forged)),
        (
            Verdict::Denied,
            "not-as-required",
            "`helper` is required, and container `helper` is not as it would be injected: take everything out with `outrigger uninject`, or remove annotation `outrigger.dev/status` and what it records"
        )
    );
}

#[test]
fn an_impostor_is_not_what_is_required() {
    let changes: [(&str, Change); 5] = [
        ("container `helper`", |pod| {
            pod["spec"]["initContainers"][0]["image"] = json!("evil:1")
        }),
        ("volume `outrigger-helper-out`", |pod| {
            pod["spec"]["volumes"][0] =
                json!({"name": "outrigger-helper-out", "hostPath": {"path": "/"}})
        }),
        ("annotation `files.outrigger.dev/helper.conf`", |pod| {
            pod["metadata"]["annotations"]["files.outrigger.dev/helper.conf"] = json!("evil")
        }),
        ("annotation `example.com/scrape`", |pod| {
            pod["metadata"]["annotations"]["example.com/scrape"] = json!("no")
        }),
        ("what it gives container `app`", |pod| {
            pod["spec"]["containers"][0]["env"][0]["value"] = json!("2")
        }),
    ];
    for (what, change) in changes {
        let mut pod = injected(&required(), &app());
        change(&mut pod);
        assert_eq!(
            sentences(&required().inject(&pod)),
            [format!(
                "`helper` is required, and {what} is not as it would be injected: take everything out with `outrigger uninject`, or remove annotation `outrigger.dev/status` and what it records"
            )]
        );
    }
}

/// The pattern leaves `command` to the image: a Pod that brings its own runs something else under the helper's name.
#[test]
fn a_helper_with_a_command_of_its_own_is_not_what_is_required() {
    let mut pod = injected(&required(), &app());
    pod["spec"]["initContainers"][0]["command"] = json!(["sleep", "infinity"]);
    assert_eq!(only(&required().inject(&pod)).1, "not-as-required");
}

/// A record under the app's own name must not make the app nobody's, so that it gets nothing of what is required.
#[test]
fn a_status_cannot_hide_the_app_from_what_is_required() {
    let mut pod = app();
    pod["metadata"]["annotations"] = json!({keys::STATUS: json!({"version": 1, "instances": {"app": {"containers": ["app"]}}}).to_string()});
    let outcome = required().inject(&pod);
    let after = applied(&outcome, &pod).expect("the patch applies");
    let denied = outcome.denials().next().is_some();
    assert!(
        denied
            || after["spec"]["containers"][0]["env"] == json!([{"name": "HELPER", "value": "1"}]),
        "{after}"
    );
}
