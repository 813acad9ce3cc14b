//! Patterns and bindings as objects: what kubectl shows of them, what the API server refuses, and what the server says of the rest.

use outrigger_e2e::{Cluster, Home, Space, binding, calm, kubectl, outrigger, pattern, pod, until};
use outrigger_e2e::{run_with, sidecars};
use serde_json::{Value, json};

use crate::security::rows;

const VERSION: &str = "outrigger.dev/v1alpha1";

/// The fields that `kubectl explain` lists at a path, with their types; a field without a word about it fails.
async fn explained(path: &str) -> Vec<(String, String)> {
    let text = kubectl(&["explain", path]).await.expect("a page");
    assert!(!text.contains("<no description>"), "{path}: {text}");
    assert!(
        !text.contains("DESCRIPTION:\n    <empty>"),
        "{path}: {text}"
    );
    let fields = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("  ")?.split_once('\t')?;
        Some((name.to_owned(), kind.to_owned()))
    });
    fields.collect()
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let _calm = calm().await;
    let mut seen = Vec::new();
    let mut paths = vec!["pattern".to_owned(), "patternbinding".to_owned()];
    while let Some(path) = paths.pop() {
        for (name, kind) in explained(&path).await {
            let field = format!("{path}.{name}");
            if kind.contains("Object>") && name != "metadata" {
                paths.push(field.clone());
            }
            seen.push(field);
        }
    }
    for field in [
        "pattern.spec.containers",
        "pattern.spec.interpose.port",
        "pattern.status.conditions.message",
        "patternbinding.spec.podMaySet",
        "patternbinding.spec.match.namespaceSelector.matchExpressions.operator",
        "patternbinding.spec.match.matchConditions.expression",
    ] {
        assert!(seen.iter().any(|seen| seen == field), "{field}: {seen:?}");
    }
}

/// What `kubectl get` prints, line by line, a space between columns and without the age.
async fn table(space: &Space, args: &[&str]) -> Vec<String> {
    let text = space.kubectl(&[&["get"], args].concat()).await;
    let text = text.expect("a table");
    let line = |line: &str| {
        let mut words: Vec<_> = line.split_whitespace().collect();
        words.pop();
        words.join(" ")
    };
    text.lines().map(line).collect()
}

#[tokio::test]
async fn kubectl_gets_them_by_short_names_and_in_columns() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("obj-columns", json!({})).await;
    space.define(&pattern("sleepy")).await;
    let audit = json!({"enforcement": "Required", "mode": "Audit"});
    space.define(&binding("audit", "sleepy", audit)).await;
    for name in ["pattern", "patterns", "pat", "pats"] {
        assert_eq!(
            table(&space, &[name]).await,
            ["NAME ROLE READY", "sleepy sidecar True"]
        );
    }
    for name in ["patternbinding", "patternbindings", "pb", "pbs"] {
        assert_eq!(
            table(&space, &[name]).await,
            [
                "NAME PATTERN ENFORCEMENT MODE READY",
                "audit sleepy Required Audit True"
            ]
        );
    }
    assert_eq!(
        table(&space, &["patterns", "-o=wide"]).await,
        [
            "NAME ROLE SUMMARY READY MESSAGE",
            "sleepy sidecar Sleeps. True the pattern is in use"
        ]
    );
    assert_eq!(
        table(&space, &["patternbindings", "-o=wide", "--no-headers"]).await,
        ["audit sleepy Required Audit True the binding is in use"]
    );
    let all = space.kubectl(&["get", "outrigger", "-o=name"]).await;
    assert_eq!(
        all.as_deref(),
        Ok("patternbinding.outrigger.dev/audit\npattern.outrigger.dev/sleepy\n")
    );
}

/// Fields of a pattern that the API server refuses.
const PATTERNS: &str = r#"
role | "helper" | spec.role: Unsupported value: "helper": supported values: "sidecar", "ambassador", "adapter"
role | null | spec.role: Required value
os | "darwin" | spec.os: Unsupported value: "darwin": supported values: "linux", "windows"
ports | {"admin": "manual"} | spec.ports.admin: Unsupported value: "manual": supported values: "auto"
interpose | {} | spec.interpose.port: Required value
rank | "high" | spec.rank: Invalid value: "string": spec.rank in body must be of type integer: "string"
native | "no" | spec.native: Invalid value: "string": spec.native in body must be of type boolean: "string"
params | [] | spec.params: Invalid value: "array": spec.params in body must be of type object: "array"
containers | {} | spec.containers: Invalid value: "object": spec.containers in body must be of type array: "object"
files | {"a": 1} | spec.files.a: Invalid value: "integer": spec.files.a in body must be of type string: "integer"
"#;
/// Fields of a binding that it refuses.
const BINDINGS: &str = r#"
pattern | null | spec.pattern: Required value
pattern | "of-28-characters-and-one-more" | spec.pattern: Invalid value: a binding gives the unsuffixed instance of a pattern: its name alone
pattern | "sleepy.two" | spec.pattern: Invalid value: a binding gives the unsuffixed instance of a pattern: its name alone
podMaySet | ["word"] | spec.podMaySet: Invalid value: podMaySet means something under `enforcement: Required` only: a Default binding's parameters may all be set
enforcement | "Must" | spec.enforcement: Unsupported value: "Must": supported values: "Default", "Required"
mode | "Try" | spec.mode: Unsupported value: "Try": supported values: "Enforce", "Audit"
match | {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}} | spec.match.podSelector.matchExpressions[0].operator: Unsupported value: "Is": supported values: "In", "NotIn", "Exists", "DoesNotExist"
match | {"podSelector": {"matchExpressions": [{"key": "a"}]}} | spec.match.podSelector.matchExpressions[0].operator: Required value
match | {"matchConditions": [{"name": "a"}]} | spec.match.matchConditions[0].expression: Required value
match | {"matchConditions": [{"name": "a", "expression": "true"}, {"name": "a", "expression": "true"}]} | spec.match.matchConditions[1]: Duplicate value: {"name":"a"}
"#;

#[tokio::test]
async fn the_api_server_refuses_what_a_schema_can_tell() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("obj-refused", json!({})).await;
    let name =
        "<nil>: Invalid value: a pattern's name has at most 28 characters, no dots and no `--`";
    for name_ in ["two.parts", "two--parts", "of-28-characters-and-one-more"] {
        assert_eq!(
            space.dry_run(&pattern(name_)).await,
            Err(format!(
                "Pattern.outrigger.dev \"{name_}\" is invalid: {name}"
            ))
        );
    }
    space
        .dry_run(&pattern("of-twenty-eight-characters-0"))
        .await
        .expect("allowed");

    for [field, value, sentence] in rows(PATTERNS) {
        let mut odd = pattern("odd");
        odd["spec"][field] = serde_json::from_str(value).expect("JSON");
        refused(&space, &odd, sentence).await;
    }
    for [field, value, sentence] in rows(BINDINGS) {
        let value: Value = serde_json::from_str(value).expect("JSON");
        let mut odd = binding("odd", "sleepy", json!({}));
        odd["spec"][field] = value;
        refused(&space, &odd, sentence).await;
    }
    let many: Vec<_> = (0..65).map(|number| number.to_string()).collect();
    let many = binding(
        "odd",
        "sleepy",
        json!({"enforcement": "Required", "podMaySet": many}),
    );
    refused(
        &space,
        &many,
        "spec.podMaySet: Too many: 65: must have at most 64 items",
    )
    .await;
    let wide = binding("odd", "sleepy", json!({"match": {"namespaceSelector": {}}}));
    assert_eq!(
        space.dry_run(&wide).await.expect_err("a refusal"),
        "patternbindings.outrigger.dev \"odd\" is forbidden: ValidatingAdmissionPolicy 'outrigger-bindings' with binding 'outrigger-bindings' denied request: `spec.match.namespaceSelector` is for PatternBindings in the namespace `outrigger-system`; anywhere else a binding applies to its own namespace only"
    );
}

/// An object called `odd` is refused with this sentence; the API server may say besides that it did not look any further.
async fn refused(space: &Space, object: &Value, sentence: &str) {
    let error = space.dry_run(object).await.expect_err("a refusal");
    let kind = object["kind"].as_str().expect("a kind");
    let start = format!("{kind}.outrigger.dev \"odd\" is invalid: ");
    let said = error.strip_prefix(&start).expect(&error);
    let further = ", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]";
    let said = match said.strip_prefix('[') {
        Some(said) => said.strip_suffix(further).expect(&error),
        None => said,
    };
    assert_eq!(said, sentence);
}

/// What `outrigger lint` says of an object: its sentences, without the place in the file.
async fn lint(object: &Value) -> Vec<String> {
    let name = object["metadata"]["name"].as_str().expect("a name");
    let file = std::env::temp_dir().join(format!("outrigger-lint-{name}.json"));
    std::fs::write(&file, object.to_string()).expect("a file");
    let said = outrigger(&["lint", file.to_str().expect("a path")]).await;
    let said = said.map_or_else(|error| error, |output| output.stderr);
    std::fs::remove_file(&file).expect("gone");
    let of = format!("{} {name}: ", object["kind"].as_str().expect("a kind"));
    let sentence = |line: &str| Some(line.split_once(&of)?.1.to_owned());
    said.lines().filter_map(sentence).collect()
}

/// The one condition of an object that has been judged as it is now: status, reason, sentence.
async fn condition(space: &Space, object: &Value) -> [String; 3] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    let judged = space.in_use(&kind, &name).await;
    let conditions = judged["status"]["conditions"].as_array().expect("a list");
    let [condition] = &conditions[..] else {
        panic!("{judged:#}");
    };
    assert_eq!(condition["type"], "Ready");
    assert_eq!(
        condition["observedGeneration"],
        judged["metadata"]["generation"]
    );
    ["status", "reason", "message"].map(|field| text(&condition[field]))
}

/// A pattern that the API server lets through and that nobody can render.
fn broken(name: &str) -> Value {
    let mut broken = pattern(name);
    broken["spec"]["containers"][0]["env"][0]["value"] = json!("{{ parms.word }}");
    broken
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_words_of_lint() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("obj-lint", json!({})).await;
    let mut twice = broken("twice");
    twice["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "cache", "mountPath": "/cache"}]);
    let mut unplaced = pattern("unplaced");
    unplaced["spec"]["interpose"] = json!({"port": "http"});
    let when = json!([{"name": "x", "expression": "object.startWith('x')"}]);
    let valueless = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
    for object in [
        broken("broken"),
        twice,
        unplaced,
        binding(
            "when",
            "redis-metrics",
            json!({"match": {"matchConditions": when}}),
        ),
        binding(
            "valueless",
            "redis-metrics",
            json!({"match": {"podSelector": valueless}}),
        ),
    ] {
        space.apply(&object).await.expect("let through");
        let sentences = lint(&object).await.join("; ");
        assert!(!sentences.is_empty(), "{object}");
        let said = condition(&space, &object).await;
        assert_eq!(said, ["False", "Invalid", &sentences]);
    }
    for (object, sentence) in [
        (pattern("good"), "the pattern is in use"),
        (binding("good", "good", json!({})), "the binding is in use"),
    ] {
        space.apply(&object).await.expect("let through");
        assert_eq!(
            condition(&space, &object).await,
            ["True", "Valid", sentence]
        );
    }
}

#[tokio::test]
async fn a_binding_s_parameters_are_held_against_its_pattern() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("obj-params", json!({})).await;
    for spec in [
        json!({"params": {"port": "many"}}),
        json!({"params": {"prot": 9121}}),
        json!({"enforcement": "Required", "podMaySet": ["prot"]}),
    ] {
        let binding = binding("params", "redis-metrics", spec);
        space.apply(&binding).await.expect("let through");
        let sentences = lint(&binding).await.join("; ");
        let [status, _, message] = condition(&space, &binding).await;
        assert_eq!((status, message), ("False".to_owned(), sentences));
    }
}

#[tokio::test]
async fn a_binding_waits_for_its_pattern() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let enabled = json!({"labels": {"outrigger.dev/injection": "enabled"}});
    let space = cluster.space("obj-late", enabled).await;
    let early = binding("early", "late", json!({}));
    space.apply(&early).await.expect("let through");
    let [status, _, message] = condition(&space, &early).await;
    let sentences = lint(&early).await.join("; ");
    assert_eq!((status, message), ("False".to_owned(), sentences));

    space.define(&pattern("late")).await;
    until("the binding to be ready", async || {
        let [status, ..] = condition(&space, &early).await;
        (status == "True").then_some(())
    })
    .await;
    let made = space.dry_run(&pod("plain", json!({}))).await;
    assert_eq!(sidecars(&made.expect("a Pod")), ["late"]);
}

#[tokio::test]
async fn the_status_is_ours_and_the_rest_is_theirs() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("obj-fields", json!({})).await;
    space.define(&pattern("sleepy")).await;
    let managers = async || {
        let object = space.get(VERSION, "Pattern", "sleepy").await.expect("it");
        let fields = object["metadata"]["managedFields"].as_array().cloned();
        let fields = fields.unwrap_or_default().into_iter();
        let ours = fields.filter(|entry| entry["manager"] == "outrigger");
        ours.map(|entry| {
            let fields = entry["fieldsV1"].as_object().expect("fields").keys();
            let fields: Vec<_> = fields.cloned().collect();
            json!([entry["operation"], entry["subresource"], fields])
        })
        .collect::<Vec<_>>()
    };
    let ours = [json!(["Apply", "status", ["f:status"]])];
    assert_eq!(managers().await, ours);

    let mut edited = pattern("sleepy");
    edited["spec"]["summary"] = json!("Sleeps well.");
    let server_side = [
        "-n",
        "obj-fields",
        "apply",
        "--server-side",
        "--force-conflicts=false",
        "-f",
        "-",
    ];
    assert_eq!(space.apply(&edited).await.as_deref(), Ok(""));
    edited["spec"]["summary"] = json!("Sleeps long.");
    run_with("kubectl", &server_side, Some(&edited))
        .await
        .expect("no conflict");
    assert_eq!(condition(&space, &edited).await[0], "True");
    assert_eq!(managers().await, ours);
}

/// What a Pod is told that asks for `pattern` now.
async fn word(space: &Space, pattern: &str) -> Result<Value, String> {
    let asks = json!({format!("sidecar.outrigger.dev/{pattern}"): ""});
    let made = space.dry_run(&pod("asks", asks)).await?;
    Ok(made["spec"]["initContainers"][0]["env"][0]["value"].clone())
}

fn saying(name: &str, word: &str) -> Value {
    let mut pattern = pattern(name);
    pattern["spec"]["params"]["properties"]["word"]["default"] = word.into();
    pattern
}

#[tokio::test]
async fn a_broken_edit_leaves_in_use_what_was_said_before() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("obj-edits", json!({})).await;
    space.define(&saying("edited", "first")).await;
    assert_eq!(word(&space, "edited").await, Ok(json!("first")));

    let broken = broken("edited");
    space.apply(&broken).await.expect("let through");
    let [sentence] = &lint(&broken).await[..] else {
        panic!("one sentence");
    };
    let kept = format!("{sentence}; what it said before stays in use");
    let said = condition(&space, &broken).await;
    assert_eq!(said, ["False", "Invalid", &kept]);
    cluster.settled().await;
    assert_eq!(word(&space, "edited").await, Ok(json!("first")));

    let repaired = saying("edited", "second");
    space.define(&repaired).await;
    let said = condition(&space, &repaired).await;
    assert_eq!(said, ["True", "Valid", "the pattern is in use"]);
    assert_eq!(word(&space, "edited").await, Ok(json!("second")));

    let delete = ["delete", "pattern", "edited"];
    space.kubectl(&delete).await.expect("gone");
    cluster.settled().await;
    let nowhere = word(&space, "edited").await.expect_err("a denial");
    assert!(
        nowhere.contains("there is no pattern `edited`"),
        "{nowhere}"
    );
}

#[tokio::test]
async fn a_namespace_s_own_pattern_comes_before_outrigger_s() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("obj-namesakes", json!({})).await;
    let home = Home::new(&cluster);
    home.define(&saying("obj-shared", "home")).await;
    assert_eq!(word(&space, "obj-shared").await, Ok(json!("home")));
    space.define(&saying("obj-shared", "own")).await;
    assert_eq!(word(&space, "obj-shared").await, Ok(json!("own")));
    let delete = ["delete", "pattern", "obj-shared"];
    space.kubectl(&delete).await.expect("gone");
    cluster.settled().await;
    assert_eq!(word(&space, "obj-shared").await, Ok(json!("home")));
}
