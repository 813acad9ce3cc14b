//! The laws of injection (`DESIGN.md` §4) as properties over generated Pods, patterns and worlds.
//!
//! Every law runs over the same cases ([`world::case`]) and counts how many of them were really injected, so that none of them
//! can hold for want of cases. The seed is fixed: a run says the same on every machine. `PROPTEST_CASES=5000` goes deeper,
//! `PROPTEST_RNG_SEED=n` elsewhere.

// Clippy lets `#[test]` functions expect, not what they call; `json!` makes values, so functions take values; changes to a Pod are
// written as one-line closures, and comparisons of parts passed as they are.
#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    clippy::type_complexity
)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::support::meaning::PARENTS;
use outrigger::inject::{Interposed, Outcome, Reason, Record, Status, Verdict, uninject};
use outrigger::keys;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use serde_json::{Value, json};

mod cluster;
mod collisions;
mod interpose;
mod json;
mod pods;
mod rules;
mod status;
mod world;

use rules::{containers, items, name, violations};
use world::{Case, case};

/// Cases of each law.
const CASES: u32 = 192;

/// What a law saw, to show that it saw something.
#[derive(Debug, Default)]
struct Tally {
    cases: Cell<u32>,
    injected: Cell<u32>,
    denied: Cell<u32>,
    notable: Cell<u32>,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

/// Runs `check` over generated cases; it gets the case and what `inject` made of it.
fn law(check: impl Fn(&Case, &Outcome, &Tally) -> Result<(), String>) -> Tally {
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    let tally = Tally::default();
    let result = TestRunner::new(config).run(&case(), |case| {
        let outcome = case.world.inject(&case.pod);
        count(&tally.cases);
        if outcome.denials().next().is_some() {
            count(&tally.denied);
        } else if !outcome.patch.is_empty() {
            count(&tally.injected);
        }
        check(&case, &outcome, &tally).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let share = |cell: &Cell<u32>| cell.get() * 100 / tally.cases.get();
    assert!(
        share(&tally.injected) >= 50,
        "too few are injected: {tally:?}"
    );
    assert!(share(&tally.denied) >= 2, "hardly any is denied: {tally:?}");
    tally
}

/// The Pod after the patch, by an RFC 6902 implementation that is not ours.
fn applied(outcome: &Outcome, pod: &Value) -> Result<Value, String> {
    let patch: json_patch::Patch =
        serde_json::from_slice(&outcome.patch.to_json()).map_err(|error| error.to_string())?;
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).map_err(|error| format!("{error}: {}", text(outcome)))?;
    Ok(pod)
}

fn text(outcome: &Outcome) -> String {
    String::from_utf8(outcome.patch.to_json()).expect("JSON is UTF-8")
}

/// True if the patch touches some container's variables.
fn adds_env(outcome: &Outcome) -> bool {
    let operations: Vec<Value> = serde_json::from_str(&text(outcome)).expect("a patch");
    let paths = operations
        .iter()
        .filter_map(|operation| operation["path"].as_str());
    paths
        .map(|path| path.trim_end_matches("/-"))
        .any(|path| path.ends_with("/env"))
}

fn sentences(outcome: &Outcome) -> Vec<&str> {
    outcome
        .denials()
        .map(|decision| decision.sentence.as_str())
        .collect()
}

fn ensure(holds: bool, sentence: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(sentence()) }
}

/// What was recorded for the instances of this very patch; a denied Pod has none.
fn records(outcome: &Outcome) -> impl Iterator<Item = &Record> {
    let decisions = if outcome.patch.is_empty() {
        &[]
    } else {
        outcome.decisions.as_slice()
    };
    decisions
        .iter()
        .filter(|decision| decision.verdict == Verdict::Injected)
        .filter_map(|decision| decision.record.as_ref())
}

fn names_of(pod: &Value) -> BTreeSet<String> {
    containers(pod)
        .map(|container| name(container).to_owned())
        .collect()
}

fn added_names(before: &Value, after: &Value) -> BTreeSet<String> {
    names_of(after)
        .difference(&names_of(before))
        .cloned()
        .collect()
}

// Law 1: the patch applies.

#[test]
fn law_1_a_patch_applies_and_a_denied_pod_has_none() {
    law(|case, outcome, _| {
        let after = applied(outcome, &case.pod)?;
        let parsed =
            outrigger::kubernetes::pod::Pod::read(after.to_string().as_bytes()).map(|_| ());
        parsed.map_err(|error| error.to_string())?;
        let denied = outcome.denials().next().is_some();
        ensure(!denied || outcome.patch.is_empty(), || {
            "denied, with a patch".to_owned()
        })?;
        let injects = outcome
            .decisions
            .iter()
            .any(|decision| decision.verdict == Verdict::Injected);
        ensure(denied || injects != outcome.patch.is_empty(), || {
            format!("decisions and patch differ: {}", text(outcome))
        })
    });
}

// Laws 2 and 3: what was there stays there, and comes back.

/// The container as interpose leaves it: ports that were taken over have lost their name, probes of that name have the number.
fn rewired(container: &Value, taken: &[&Interposed]) -> Value {
    let mut container = container.clone();
    for taken in taken
        .iter()
        .filter(|taken| taken.container == name(&container))
        .copied()
        .collect::<Vec<_>>()
    {
        let Some(port_name) = &taken.name else {
            continue;
        };
        for port in container
            .get_mut("ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if port.get("name") == Some(&json!(port_name))
                && port["containerPort"] == json!(taken.port)
            {
                port.as_object_mut()
                    .expect("an object")
                    .shift_remove("name");
            }
        }
        let places = [
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle/postStart",
            "lifecycle/preStop",
        ];
        for place in places {
            for handler in ["httpGet", "tcpSocket"] {
                if let Some(port) = container.pointer_mut(&format!("/{place}/{handler}/port"))
                    && *port == json!(port_name)
                {
                    *port = json!(taken.port);
                }
            }
        }
    }
    container
}

fn same(path: &str, before: &Value, after: &Value) -> Result<(), String> {
    ensure(before == after, || {
        format!("{path}: `{before}` became `{after}`")
    })
}

/// Every field of `before` is in `after`; `inner` compares those that may have grown.
fn fields_kept(
    path: &str,
    before: &Value,
    after: &Value,
    inner: &dyn Fn(&str, &str, &Value, &Value) -> Result<(), String>,
) -> Result<(), String> {
    for (key, value) in before.as_object().into_iter().flatten() {
        let path = format!("{path}/{key}");
        match after.get(key) {
            Some(after) => inner(key, &path, value, after)?,
            None => return Err(format!("{path} is gone")),
        }
    }
    Ok(())
}

/// A list that may have grown at its end.
fn grown(path: &str, before: &Value, after: &Value) -> Result<(), String> {
    let (before, after) = (list(before), list(after));
    ensure(after.starts_with(before), || {
        format!("{path} was changed or reordered")
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn container_kept(
    path: &str,
    before: &Value,
    after: &Value,
    taken: &[&Interposed],
) -> Result<(), String> {
    fields_kept(
        path,
        &rewired(before, taken),
        after,
        &|key, path, before, after| match key {
            "env" | "volumeMounts" => grown(path, before, after),
            _ => same(path, before, after),
        },
    )?;
    let more = after.as_object().into_iter().flatten().map(|(key, _)| key);
    let strange = more
        .filter(|key| before.get(key).is_none())
        .find(|key| !["env", "volumeMounts"].contains(&key.as_str()));
    ensure(strange.is_none(), || format!("{path} got `{strange:?}`"))
}

/// The user's containers are there in their order, found by name: others may stand between them.
fn containers_kept(
    path: &str,
    before: &Value,
    after: &Value,
    taken: &[&Interposed],
) -> Result<(), String> {
    let mut from = 0;
    for container in list(before) {
        let rest = &list(after)[from..];
        let at = rest.iter().position(|other| name(other) == name(container));
        let at = at.ok_or_else(|| format!("{path}: `{}` is gone or moved", name(container)))?;
        container_kept(
            &format!("{path}/{}", name(container)),
            container,
            &rest[at],
            taken,
        )?;
        from += at + 1;
    }
    Ok(())
}

/// Everything in `before` is in `after`.
fn pod_kept(before: &Value, after: &Value, taken: &[&Interposed]) -> Result<(), String> {
    fields_kept("", before, after, &|key, path, before, after| match key {
        "metadata" => fields_kept(path, before, after, &|key, path, before, after| match key {
            "annotations" | "labels" => {
                fields_kept(path, before, after, &|_, path, before, after| {
                    same(path, before, after)
                })
            }
            _ => same(path, before, after),
        }),
        "spec" => fields_kept(path, before, after, &|key, path, before, after| match key {
            "containers" | "initContainers" => containers_kept(path, before, after, taken),
            "volumes" | "imagePullSecrets" => grown(path, before, after),
            _ => same(path, before, after),
        }),
        _ => same(path, before, after),
    })
}

#[test]
fn law_2_what_we_do_not_know_stays_where_it_is() {
    let tally = law(|case, outcome, tally| {
        let after = applied(outcome, &case.pod)?;
        let taken: Vec<_> = records(outcome)
            .filter_map(|record| record.interpose.as_ref())
            .collect();
        if taken.iter().any(|taken| taken.name.is_some()) {
            count(&tally.notable);
        }
        pod_kept(&case.pod, &after, &taken)
    });
    assert!(
        tally.notable.get() > CASES / 20,
        "hardly any port is taken over: {tally:?}"
    );
}

/// Equal, but for empty parents that are gone and the order of keys.
fn given_back(path: &str, before: &Value, after: &Value) -> Result<(), String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}/{key}");
                match after.get(key) {
                    Some(after) => given_back(&path, value, after)?,
                    None if PARENTS.contains(&key.as_str()) && is_empty(value) => {}
                    None => return Err(format!("{path} is gone")),
                }
            }
            let left = after.keys().find(|key| !before.contains_key(*key));
            ensure(left.is_none(), || format!("{path}: `{left:?}` is left"))
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => before
            .iter()
            .zip(after)
            .enumerate()
            .try_for_each(|(index, (before, after))| {
                given_back(&format!("{path}/{index}"), before, after)
            }),
        _ => same(path, before, after),
    }
}

/// Null or without anything in it; `metadata` may hold empty parents itself.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields
            .iter()
            .all(|(key, value)| PARENTS.contains(&key.as_str()) && is_empty(value)),
        _ => false,
    }
}

#[test]
fn law_3_uninject_is_the_inverse() {
    law(|case, outcome, _| {
        let mut pod = applied(outcome, &case.pod)?;
        uninject(&mut pod)?;
        given_back("", &case.pod, &pod)
    });
}

// Law 4: once is enough.

/// A second pass over `pod` finds nothing to do and nothing wrong.
fn settled(case: &Case, pod: &Value, after: &str) -> Result<(), String> {
    let again = case.world.inject(pod);
    ensure(again.denials().next().is_none(), || {
        format!("denied {after}: {:?}", sentences(&again))
    })?;
    ensure(again.patch.is_empty(), || {
        format!("patched again {after}: {}", text(&again))
    })
}

#[test]
fn law_4_injecting_twice_is_injecting_once() {
    law(|case, outcome, _| {
        let same = case.world.inject(&case.pod);
        ensure(text(outcome) == text(&same), || {
            "two calls, two patches".to_owned()
        })?;
        if outcome.denials().next().is_some() {
            return Ok(());
        }
        let after = applied(outcome, &case.pod)?;
        settled(case, &after, "at once")
    });
}

/// True if somebody requires an instance whose pattern goes `into: all` containers: another webhook's container is one of them,
/// see `collisions::another_webhooks_container_is_no_target_afterwards`.
fn requires_all(case: &Case) -> bool {
    let asks_for_all = case.pod.to_string().contains("\\\"into\\\":\\\"all\\\"");
    let required = |(_, binding): &(_, Value)| binding["spec"]["enforcement"] == "Required";
    asks_for_all && case.world.bindings.iter().any(required)
}

#[test]
fn law_4_holds_after_whatever_the_cluster_does_in_between() {
    let tally = law(|case, outcome, tally| {
        if outcome.denials().next().is_some() || outcome.patch.is_empty() {
            return Ok(());
        }
        let after = applied(outcome, &case.pod)?;
        settled(case, &cluster::stored(&after), "after defaulting")?;
        settled(case, &cluster::with_token(&after), "after the token mount")?;
        // An offer that found no port of the app's may find one of the container that another webhook appends: then it is another Pod.
        let found_no_port = outcome
            .decisions
            .iter()
            .any(|decision| decision.reason == Reason::NoSuchPort);
        if requires_all(case) || found_no_port {
            return Ok(());
        }
        let whole = cluster::between_calls(&after);
        settled(case, &whole, "after all of it")?;
        let required = case
            .world
            .bindings
            .iter()
            .any(|(_, binding)| binding["spec"]["enforcement"] == "Required");
        if required {
            count(&tally.notable);
        }
        let mut back = whole.clone();
        uninject(&mut back)?;
        let left = text_of(&back).matches("outrigger-").count();
        ensure(left == 0, || format!("left after uninject: {back}"))
    });
    assert!(
        tally.notable.get() > CASES / 20,
        "hardly any is required: {tally:?}"
    );
}

fn text_of(pod: &Value) -> String {
    pod["spec"]["volumes"].to_string()
}

#[test]
fn law_4_the_order_of_annotations_does_not_matter() {
    law(|case, outcome, _| {
        let mut turned = case.pod.clone();
        if let Some(annotations) = turned
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
        {
            *annotations = std::mem::take(annotations).into_iter().rev().collect();
        }
        let other = case.world.inject(&turned);
        ensure(text(outcome) == text(&other), || {
            format!("{}\nis not\n{}", text(outcome), text(&other))
        })
    });
}

// Law 5: the patch says the least.

/// The parent of a pointer and its last step, unescaped.
fn target(path: &str) -> (&str, String) {
    let (parent, last) = path.rsplit_once('/').expect("a pointer");
    (parent, last.replace("~1", "/").replace("~0", "~"))
}

/// An `add` makes something new: an item at an end or among the init containers, or a key that was absent or null.
fn adds_only(pod: &Value, path: &str) -> Result<(), String> {
    let (parent, last) = target(path);
    match pod.pointer(parent) {
        Some(Value::Array(_)) if last == "-" => Ok(()),
        Some(Value::Array(items)) => {
            let inserts = parent == "/spec/initContainers"
                && last
                    .parse::<usize>()
                    .is_ok_and(|index| index <= items.len());
            ensure(inserts, || format!("`{path}` inserts"))
        }
        Some(Value::Object(fields)) => ensure(fields.get(&last).is_none_or(Value::is_null), || {
            format!("`{path}` overwrites")
        }),
        _ => Err(format!("`{path}` has no parent")),
    }
}

#[test]
fn law_5_a_patch_only_adds() {
    law(|case, outcome, _| {
        let operations: Vec<Value> =
            serde_json::from_slice(&outcome.patch.to_json()).map_err(|error| error.to_string())?;
        let interposes = records(outcome).any(|record| record.interpose.is_some());
        let mut pod = case.pod.clone();
        for operation in operations {
            let path = operation["path"].as_str().unwrap_or_default();
            match operation["op"].as_str() {
                Some("add") => adds_only(&pod, path)?,
                Some("remove") => ensure(
                    interposes && path.contains("/ports/") && path.ends_with("/name"),
                    || format!("removes `{path}`"),
                )?,
                Some("replace") => ensure(interposes && path.ends_with("/port"), || {
                    format!("replaces `{path}`")
                })?,
                other => return Err(format!("`{other:?}` is no operation of ours")),
            }
            let one: json_patch::Patch =
                serde_json::from_value(json!([operation])).map_err(|error| error.to_string())?;
            let before = pod.clone();
            json_patch::patch(&mut pod, &one).map_err(|error| error.to_string())?;
            ensure(before != pod, || format!("`{path}` changes nothing"))?;
        }
        Ok(())
    });
}

// Law 6: no invalid Pod leaves.

#[test]
fn law_6_what_is_not_denied_is_valid() {
    law(|case, outcome, _| {
        if outcome.patch.is_empty() {
            return Ok(());
        }
        let after = applied(outcome, &case.pod)?;
        let broken = violations(&after, &added_names(&case.pod, &after));
        ensure(broken.is_empty(), || {
            format!("{broken:?} in {}", text(outcome))
        })
    });
}

/// DESIGN §2: "an offer never stops a Pod".
#[test]
fn an_offer_never_stops_a_pod() {
    let tally = law(|case, outcome, tally| {
        if outcome.denials().next().is_none() {
            return Ok(());
        }
        count(&tally.notable);
        let without = case.world.without_offers().inject(&case.pod);
        ensure(without.denials().next().is_some(), || {
            format!("only with offers: {:?}", sentences(outcome))
        })
    });
    assert!(tally.notable.get() > 0, "{tally:?}");
}

// Law 7: identical means no-op, different is a conflict.

/// Writes what the patch would add to the app containers into the Pod beforehand, by `change`.
fn beforehand(case: &Case, after: &Value, change: impl Fn(&mut Value)) -> (Value, usize) {
    let mut pod = case.pod.clone();
    let mut written = 0;
    for field in ["containers", "initContainers"] {
        for container in pod["spec"]
            .get_mut(field)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(grown) = containers(after).find(|other| name(other) == name(container)) else {
                continue;
            };
            let known = items(container, "env").count();
            let more: Vec<_> = items(grown, "env")
                .skip(known)
                .cloned()
                .map(|mut entry| {
                    change(&mut entry);
                    entry
                })
                .collect();
            written += more.len();
            if !more.is_empty() {
                let mut env: Vec<_> = items(container, "env").cloned().collect();
                env.extend(more);
                container["env"] = Value::Array(env);
            }
        }
    }
    (pod, written)
}

#[test]
fn law_7_identical_entries_are_left_alone_and_different_ones_conflict() {
    let tally = law(|case, outcome, tally| {
        if outcome.patch.is_empty() {
            return Ok(());
        }
        let after = applied(outcome, &case.pod)?;
        let (pod, written) = beforehand(case, &after, |_| {});
        if written == 0 {
            return Ok(());
        }
        count(&tally.notable);
        let identical = case.world.inject(&pod);
        ensure(!adds_env(&identical), || {
            format!("added although there: {}", text(&identical))
        })?;
        ensure(identical.denials().next().is_none(), || {
            format!("denied: {:?}", sentences(&identical))
        })?;
        let mut back = applied(&identical, &pod)?;
        uninject(&mut back)?;
        given_back("", &pod, &back)?;
        let (pod, _) = beforehand(case, &after, |entry| {
            *entry = json!({"name": entry["name"], "value": "somebody else's"});
        });
        let different = case.world.inject(&pod);
        let conflicts = different.decisions.iter().filter(|decision| {
            decision.reason.code() == "conflict"
                || decision
                    .sentence
                    .contains("has another value for the variable")
        });
        ensure(conflicts.count() > 0, || {
            format!("no conflict: {}", text(&different))
        })?;
        ensure(!adds_env(&different), || {
            format!("added beside another: {}", text(&different))
        })
    });
    assert!(
        tally.notable.get() > CASES / 10,
        "hardly any app gets a variable: {tally:?}"
    );
}

// Law 9: the status says what was done.

fn sorted<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<_> = names.into_iter().map(str::to_owned).collect();
    names.sort();
    names
}

/// Names in `after`'s list that are not in `before`'s.
fn new_names(before: &Value, after: &Value, field: &str, key: &str) -> Vec<String> {
    let old: BTreeSet<_> = items(before, field)
        .filter_map(|item| item[key].as_str())
        .collect();
    sorted(
        items(after, field)
            .filter_map(|item| item[key].as_str())
            .filter(|name| !old.contains(name)),
    )
}

fn new_keys(before: &Value, after: &Value, field: &str) -> Vec<String> {
    let keys = |pod: &Value| -> BTreeSet<String> {
        pod["metadata"][field]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect()
    };
    sorted(keys(after).difference(&keys(before)).map(String::as_str))
}

fn recorded<'a>(status: &'a Status, part: fn(&'a Record) -> &'a Vec<String>) -> Vec<String> {
    sorted(status.instances.values().flat_map(part).map(String::as_str))
}

fn recorded_in_apps(
    status: &Status,
    part: fn(&Record) -> &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (container, names) in status.instances.values().flat_map(part) {
        all.entry(container.clone())
            .or_default()
            .extend(names.iter().cloned());
    }
    all.values_mut().for_each(|names| names.sort());
    all
}

fn new_in_apps(
    before: &Value,
    after: &Value,
    field: &str,
    key: &str,
) -> BTreeMap<String, Vec<String>> {
    containers(before)
        .filter_map(|container| {
            let grown = containers(after).find(|other| name(other) == name(container))?;
            let new = new_names(container, grown, field, key);
            (!new.is_empty()).then(|| (name(container).to_owned(), new))
        })
        .collect()
}

/// The status names exactly what is new.
fn accounts(before: &Value, after: &Value) -> Result<(), String> {
    let text = after["metadata"]["annotations"][keys::STATUS]
        .as_str()
        .ok_or("no status")?;
    let status = Status::parse(text)?;
    let equal = |what: &str, recorded: Vec<String>, actual: Vec<String>| {
        ensure(recorded == actual, || {
            format!("{what}: recorded {recorded:?}, added {actual:?}")
        })
    };
    equal(
        "containers",
        recorded(&status, |record| &record.containers),
        sorted(added_names(before, after).iter().map(String::as_str)),
    )?;
    let spec = (&before["spec"], &after["spec"]);
    equal(
        "volumes",
        recorded(&status, |record| &record.volumes),
        new_names(spec.0, spec.1, "volumes", "name"),
    )?;
    equal(
        "imagePullSecrets",
        recorded(&status, |record| &record.image_pull_secrets),
        new_names(spec.0, spec.1, "imagePullSecrets", "name"),
    )?;
    equal(
        "labels",
        recorded(&status, |record| &record.labels),
        new_keys(before, after, "labels"),
    )?;
    let files: Vec<String> = status
        .instances
        .iter()
        .flat_map(|(instance, record)| record.file_keys(instance).collect::<Vec<_>>())
        .collect();
    let own = recorded(&status, |record| &record.annotations);
    let all = own
        .iter()
        .chain(&files)
        .map(String::as_str)
        .chain([keys::STATUS]);
    equal(
        "annotations",
        sorted(all),
        new_keys(before, after, "annotations"),
    )?;
    for (what, recorded, actual) in [
        (
            "env",
            recorded_in_apps(&status, |record| &record.env),
            new_in_apps(before, after, "env", "name"),
        ),
        (
            "mounts",
            recorded_in_apps(&status, |record| &record.mounts),
            new_in_apps(before, after, "volumeMounts", "mountPath"),
        ),
    ] {
        ensure(recorded == actual, || {
            format!("{what}: recorded {recorded:?}, added {actual:?}")
        })?;
    }
    for (instance, record) in &status.instances {
        ensure(
            record.revision.len() == 16 && record.params.len() == 16,
            || format!("`{instance}` has no hashes"),
        )?;
    }
    ensure(status.text() == text, || {
        "not the text that we write".to_owned()
    })
}

/// Every field of a record (`DESIGN.md` §4, law 9): nothing else, a time least of all.
const RECORDED: [&str; 15] = [
    "source",
    "pattern",
    "revision",
    "params",
    "containers",
    "volumes",
    "imagePullSecrets",
    "annotations",
    "labels",
    "targets",
    "env",
    "mounts",
    "ports",
    "files",
    "interpose",
];

#[test]
fn law_9_the_status_accounts_for_everything() {
    law(|case, outcome, _| {
        if outcome.patch.is_empty() {
            return Ok(());
        }
        let after = applied(outcome, &case.pod)?;
        accounts(&case.pod, &after)?;
        let text = after["metadata"]["annotations"][keys::STATUS]
            .as_str()
            .unwrap_or_default();
        let raw: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let fields = raw["instances"]
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(_, record)| record.as_object().into_iter().flatten());
        let strange = fields
            .map(|(key, _)| key)
            .find(|key| !RECORDED.contains(&key.as_str()));
        ensure(strange.is_none(), || format!("`{strange:?}` in the status"))
    });
}

/// A patch of a Pod that must not be denied, applied.
fn injected(world: &world::World, pod: &Value) -> Value {
    let outcome = world.inject(pod);
    assert_eq!(sentences(&outcome), [""; 0]);
    assert!(!outcome.patch.is_empty(), "nothing is injected");
    applied(&outcome, pod).expect("the patch applies")
}
