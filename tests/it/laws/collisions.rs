//! Small Pods that break a law where a merge or a check looks away: each was found by thought or by shrinking.

use outrigger::inject::uninject;
use outrigger::keys;
use serde_json::{Value, json};

use super::world::{World, annotate};
use super::{added_names, applied, cluster, injected, sentences, violations};

fn app() -> Value {
    json!({"metadata": {}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}})
}

fn asking(mut pod: Value, key: &str, value: &str) -> Value {
    annotate(&mut pod, [(key.to_owned(), value.to_owned())]);
    pod
}

/// The least that a pattern may say, and more.
fn pattern(more: Value) -> Value {
    let mut spec = json!({"role": "sidecar", "serviceAccountToken": true, "containers": [{"image": "helper:1"}]});
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        spec[key] = value;
    }
    spec
}

/// Denied with a sentence, or valid: what leaves is never a Pod that the API server refuses.
fn denied_or_valid(world: &World, pod: &Value) {
    let outcome = world.inject(pod);
    if outcome.denials().next().is_some() {
        return;
    }
    let after = applied(&outcome, pod).expect("the patch applies");
    assert_eq!(violations(&after, &added_names(pod, &after)), [""; 0]);
}

// Law 6: within one instance and between two.

#[test]
fn a_container_named_twice_in_into_gets_everything_once() {
    let world = World::with([(
        "helper",
        pattern(
            json!({"volumes": [{"name": "out", "emptyDir": {}}], "app": {"env": [{"name": "A", "value": "1"}], "volumeMounts": [{"name": "out", "mountPath": "/out"}]}}),
        ),
    )]);
    let after = injected(
        &world,
        &asking(app(), "sidecar.outrigger.dev/helper", "{into: [app, app]}"),
    );
    assert_eq!(
        after["spec"]["containers"][0]["env"],
        json!([{"name": "A", "value": "1"}])
    );
    assert_eq!(
        after["spec"]["containers"][0]["volumeMounts"],
        json!([{"name": "outrigger-helper-out", "mountPath": "/out"}])
    );
}

#[test]
fn volumes_of_two_patterns_do_not_share_a_name() {
    let world = World::with([
        (
            "a",
            pattern(json!({"volumes": [{"name": "b-out", "emptyDir": {}}]})),
        ),
        (
            "a-b",
            pattern(json!({"volumes": [{"name": "out", "configMap": {"name": "c"}}]})),
        ),
    ]);
    let pod = asking(app(), "sidecar.outrigger.dev/a", "");
    denied_or_valid(&world, &asking(pod, "sidecar.outrigger.dev/a-b", ""));
}

#[test]
fn variables_of_the_app_have_names() {
    let world = World::with([(
        "helper",
        pattern(
            json!({"params": {"type": "object", "properties": {"name": {"type": "string", "default": "A"}}}, "app": {"env": [{"name": "{{ params.name }}", "value": "1"}]}}),
        ),
    )]);
    for name in ["A=B", "", "ü"] {
        denied_or_valid(
            &world,
            &asking(
                app(),
                "sidecar.outrigger.dev/helper",
                &json!({"name": name}).to_string(),
            ),
        );
    }
}

#[test]
fn mounts_of_the_app_have_paths() {
    let world = World::with([(
        "helper",
        pattern(
            json!({"params": {"type": "object", "properties": {"path": {"type": "string", "default": "/a"}}}, "volumes": [{"name": "out", "emptyDir": {}}], "app": {"volumeMounts": [{"name": "out", "mountPath": "{{ params.path }}"}]}}),
        ),
    )]);
    for path in ["", "/a:/b"] {
        denied_or_valid(
            &world,
            &asking(
                app(),
                "sidecar.outrigger.dev/helper",
                &json!({"path": path}).to_string(),
            ),
        );
    }
}

#[test]
fn two_mounts_of_the_app_have_two_paths() {
    let properties = json!({"one": {"type": "string", "default": "/one"}, "two": {"type": "string", "default": "/two"}});
    let mounts = json!([{"name": "out", "mountPath": "{{ params.one }}"}, {"name": "out", "mountPath": "{{ params.two }}"}]);
    let world = World::with([(
        "helper",
        pattern(
            json!({"params": {"type": "object", "properties": properties}, "volumes": [{"name": "out", "emptyDir": {}}], "app": {"volumeMounts": mounts}}),
        ),
    )]);
    denied_or_valid(
        &world,
        &asking(
            app(),
            "sidecar.outrigger.dev/helper",
            "{one: /same, two: /same}",
        ),
    );
}

#[test]
fn a_mount_of_the_app_has_its_volume() {
    let properties = json!({"keep": {"type": "boolean", "default": true}});
    let world = World::with([(
        "helper",
        pattern(
            json!({"params": {"type": "object", "properties": properties}, "volumes": [{"name": "out", "emptyDir": "{{ {} if params.keep else none }}"}], "app": {"volumeMounts": [{"name": "out", "mountPath": "/out"}]}}),
        ),
    )]);
    denied_or_valid(
        &world,
        &asking(app(), "sidecar.outrigger.dev/helper", "{keep: false}"),
    );
}

#[test]
fn an_override_stays_within_the_pods_resources() {
    let mut pod = asking(
        app(),
        "adapter.outrigger.dev/redis-metrics",
        "{override: {resources: {limits: {cpu: '2'}}}}",
    );
    pod["spec"]["resources"] = json!({"limits": {"cpu": "1"}});
    denied_or_valid(&World::default(), &pod);
}

/// A status may be longer than any fixed allowance for it.
#[test]
fn a_long_status_counts_among_the_annotations() {
    let env: Vec<_> = (0..400)
        .map(|index| json!({"name": format!("VARIABLE_NUMBER_{index}"), "value": "1"}))
        .collect();
    let world = World::with([("helper", pattern(json!({"app": {"env": env}})))]);
    let mut pod = asking(app(), "sidecar.outrigger.dev/helper", "{into: all}");
    pod["spec"]["containers"] = (0..4)
        .map(|index| json!({"name": format!("app-{index}"), "image": "app:1"}))
        .collect();
    pod["metadata"]["annotations"]["padding"] = json!("p".repeat(256 * 1024 - 17 * 1024));
    denied_or_valid(&world, &pod);
    assert_eq!(world.inject(&pod).denials().count(), 1);
}

// Law 3.

/// A config file that the user wrote himself, just as we would, is his.
#[test]
fn a_file_that_was_there_stays_there() {
    let world = World::with([("helper", pattern(json!({"files": {"conf": "text"}})))]);
    let mut pod = asking(app(), "sidecar.outrigger.dev/helper", "");
    pod["metadata"]["annotations"]["files.outrigger.dev/helper.conf"] = json!("text");
    let mut back = injected(&world, &pod);
    uninject(&mut back).expect("a status");
    assert_eq!(back, pod);
}

// Law 4, for what is required.

/// A world in which everything must have this pattern.
fn requiring(more: Value) -> World {
    World::with([("helper", pattern(more))]).bound(
        "everywhere",
        json!({"pattern": "helper", "enforcement": "Required"}),
    )
}

/// Injected, changed by the cluster, and looked at again: nothing to add, nothing wrong.
fn settles(world: &World, pod: &Value, change: fn(&Value) -> Value) {
    let again = world.inject(&change(&injected(world, pod)));
    assert_eq!(sentences(&again), [""; 0]);
    assert!(again.patch.is_empty());
}

#[test]
fn mounts_alone_settle_in_an_app_without_variables() {
    let world = requiring(
        json!({"volumes": [{"name": "out", "emptyDir": {}}], "app": {"volumeMounts": [{"name": "out", "mountPath": "/out"}]}}),
    );
    settles(&world, &app(), Value::clone);
}

/// Go leaves out numbers that are zero and mappings that are empty.
#[test]
fn zeros_and_empty_mappings_settle_after_gos_encoder() {
    let containers = json!([{"image": "helper:1", "startupProbe": {"exec": {"command": ["true"]}, "initialDelaySeconds": 0}, "resources": {"limits": {}}}]);
    settles(
        &requiring(json!({"containers": containers})),
        &app(),
        cluster::stored,
    );
}

/// `into: all` under Required means those that other webhooks add later, too: whoever writes a status could call any container late.
#[test]
fn another_webhooks_container_is_given_what_is_required() {
    let world = World::with([(
        "helper",
        pattern(json!({"app": {"env": [{"name": "A", "value": "1"}]}})),
    )])
    .bound(
        "everywhere",
        json!({"pattern": "helper", "enforcement": "Required", "params": {"into": "all"}}),
    );
    let later = cluster::with_other_webhooks(&injected(&world, &app()));
    let again = injected(&world, &later);
    let containers = again["spec"]["containers"].as_array().expect("a list");
    let late = containers
        .iter()
        .find(|container| container["name"] == "foreign-agent");
    let env = &late.expect("a container")["env"];
    let foreign = json!({"name": "FOREIGN", "value": "1"});
    assert_eq!(*env, json!([foreign, {"name": "A", "value": "1"}]));
    settles(&world, &later, Value::clone);
}

// Law 7.

#[test]
fn a_mount_with_more_to_it_is_another_mount() {
    let properties = json!({"volume": {"type": "string", "default": "files"}});
    let mounts = json!([{"name": "{{ params.volume }}", "mountPath": "/data"}]);
    let world = World::with([(
        "helper",
        pattern(
            json!({"params": {"type": "object", "properties": properties}, "files": {"conf": "text"}, "app": {"volumeMounts": mounts}}),
        ),
    )]);
    let mut pod = asking(app(), "sidecar.outrigger.dev/helper", "{volume: data}");
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data", "subPath": "elsewhere"}]);
    assert_eq!(
        sentences(&world.inject(&pod)),
        [
            "annotation `sidecar.outrigger.dev/helper`: container `app` has something else mounted at `/data`"
        ]
    );
}

#[test]
fn a_mount_just_as_ours_is_left_alone() {
    let properties = json!({"volume": {"type": "string", "default": "files"}});
    let mounts = json!([{"name": "{{ params.volume }}", "mountPath": "/data"}]);
    let world = World::with([(
        "helper",
        pattern(
            json!({"params": {"type": "object", "properties": properties}, "files": {"conf": "text"}, "app": {"volumeMounts": mounts}}),
        ),
    )]);
    let mut pod = asking(app(), "sidecar.outrigger.dev/helper", "{volume: data}");
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let after = injected(&world, &pod);
    assert_eq!(after["spec"]["containers"], pod["spec"]["containers"]);
}

#[test]
fn a_secret_a_label_and_an_annotation_that_are_there_are_left_alone() {
    let metadata = json!({"labels": {"team": "helpers"}, "annotations": {"example.com/a": "ours"}});
    let world = World::with([(
        "helper",
        pattern(json!({"imagePullSecrets": [{"name": "pull"}], "podMetadata": metadata})),
    )]);
    let mut pod = asking(app(), "sidecar.outrigger.dev/helper", "");
    pod["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
    pod["metadata"]["labels"] = json!({"team": "carts"});
    pod["metadata"]["annotations"]["example.com/a"] = json!("ours");
    let outcome = world.inject(&pod);
    assert_eq!(
        outcome.warnings().collect::<Vec<_>>(),
        ["label `team` stays `carts`, not `helpers`"]
    );
    let mut back = applied(&outcome, &pod).expect("the patch applies");
    assert_eq!(
        back["spec"]["imagePullSecrets"],
        pod["spec"]["imagePullSecrets"]
    );
    uninject(&mut back).expect("a status");
    assert_eq!(back, pod);
}

// DESIGN §2.

/// "An offer never stops a Pod": what is asked for goes first, whatever the ranks.
#[test]
fn an_offer_gives_way_to_what_is_asked_for() {
    let helper = |rank: i32| {
        pattern(
            json!({"rank": rank, "containers": [{"image": "helper:1", "ports": [{"containerPort": 7000}]}]}),
        )
    };
    let world = World::with([("offered", helper(1)), ("asked", helper(2))])
        .bound("offer", json!({"pattern": "offered"}));
    let pod = asking(app(), "sidecar.outrigger.dev/asked", "");
    let after = injected(&world, &pod);
    assert_eq!(after["spec"]["initContainers"][0]["name"], "asked");
    let warnings: Vec<_> = world.inject(&pod).warnings().map(str::to_owned).collect();
    assert_eq!(
        warnings,
        [
            "`offered` is not injected: binding `outrigger-system/offer`: container `offered` listens on port 7000, which `asked` has already: choose another by a parameter"
        ]
    );
}

/// One instance under two roles: the wrong one is named, in whichever order they stand.
#[test]
fn a_role_that_does_not_fit_is_never_skipped_in_silence() {
    let (right, wrong) = (
        "adapter.outrigger.dev/redis-metrics",
        "sidecar.outrigger.dev/redis-metrics",
    );
    let sentence = "annotation `sidecar.outrigger.dev/redis-metrics`: `redis-metrics` is of the role `adapter`: write `adapter.outrigger.dev/redis-metrics`";
    for [first, second] in [[right, wrong], [wrong, right]] {
        let pod = asking(asking(app(), first, ""), second, "");
        assert_eq!(
            sentences(&World::default().inject(&pod)),
            [sentence],
            "{pod}"
        );
    }
}

/// A mirror Pod runs already: refusing it would only hide it.
#[test]
fn a_mirror_pod_is_left_alone_whatever_it_says() {
    let pod = asking(app(), keys::MIRROR, "hash");
    for (key, value) in [
        ("sidecar.outrigger.dev/htps", ""),
        (keys::STATUS, "nonsense"),
        ("sidecar.outrigger.dev/https", "{"),
    ] {
        let outcome = World::default().inject(&asking(pod.clone(), key, value));
        assert!(outcome.patch.is_empty());
        assert_eq!(sentences(&outcome), [""; 0]);
    }
}
