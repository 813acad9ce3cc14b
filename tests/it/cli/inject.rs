//! `inject`, `uninject` and `explain` of the example that the README begins with.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{assert_run, documents, outrigger, outrigger_with_input, read, root};

const SHOP: &str = "examples/shop.yaml";

/// What `inject` says on stderr while it works on the example.
const TALK: &str = "\
Deployment shop: injected https (asked): annotation `sidecar.outrigger.dev/https` asks for it
warning: Deployment shop: point the Service's targetPort at 8443: `https` listens there before port 8080, which has no name
Deployment shop: injected redis-metrics (asked): annotation `adapter.outrigger.dev/redis-metrics` asks for it
Deployment shop: injected redis-shard (asked): annotation `ambassador.outrigger.dev/redis-shard` asks for it
";

#[test]
fn inject_adds_all_three_helpers() {
    let run = outrigger(&["inject", "-f", SHOP]);
    assert_eq!((run.code, run.stderr.as_str()), (0, TALK));
    let injected: Vec<Value> = run
        .stdout
        .split("---\n")
        .map(|document| outrigger::yaml::read(document).expect("YAML"))
        .collect();
    let names = |field: &str| -> Vec<&str> {
        injected[1]["spec"]["template"]["spec"][field]
            .as_array()
            .expect(field)
            .iter()
            .map(|item| item["name"].as_str().expect("a name"))
            .collect()
    };
    assert_eq!(names("containers"), ["shop", "sessions"]);
    assert_eq!(
        names("initContainers"),
        ["https", "redis-metrics", "redis-shard"]
    );
}

#[test]
fn the_documents_that_nothing_is_done_to_keep_their_comments() {
    let run = outrigger(&["inject", "-f", SHOP]);
    let service = read(SHOP)
        .split("---\n")
        .next()
        .expect("a document")
        .to_owned();
    assert!(run.stdout.starts_with(&format!("{service}---\n")));
}

#[test]
fn the_diff_only_adds() {
    let run = outrigger(&["inject", "-f", SHOP, "-o", "diff"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, TALK));
    let mut lines = run.stdout.lines();
    assert_eq!(lines.next(), Some("--- a/Deployment/shop"));
    assert_eq!(lines.next(), Some("+++ b/Deployment/shop"));
    let removed: Vec<_> = lines.filter(|line| line.starts_with('-')).collect();
    assert_eq!(removed, Vec::<&str>::new());
}

#[test]
fn a_second_inject_changes_no_byte() {
    let once = outrigger(&["inject", "-f", SHOP]).stdout;
    let twice = outrigger_with_input(&["inject", "-f", "-"], &once);
    assert_run(
        &twice,
        0,
        &once,
        "\
Deployment shop: carried https (carried): it is in the Pod already, as the status records
Deployment shop: carried redis-metrics (carried): it is in the Pod already, as the status records
Deployment shop: carried redis-shard (carried): it is in the Pod already, as the status records
",
    );
    let diff = outrigger_with_input(&["inject", "-f", "-", "-o", "diff"], &once);
    assert_eq!((diff.code, diff.stdout.as_str()), (0, ""));
}

#[test]
fn uninject_gives_the_file_back_byte_for_byte() {
    let injected = outrigger(&["inject", "-f", SHOP]).stdout;
    let back = outrigger_with_input(&["uninject", "-f", "-"], &injected);
    assert_run(
        &back,
        0,
        &read(SHOP),
        "\
Deployment shop: took out https
Deployment shop: took out redis-metrics
Deployment shop: took out redis-shard
",
    );
    let again = outrigger_with_input(&["uninject", "-f", "-"], &back.stdout);
    assert_run(&again, 0, &read(SHOP), "");
}

#[test]
fn json_is_a_list_of_the_objects() {
    let run = outrigger(&["inject", "-f", SHOP, "-o", "json"]);
    let list: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let yaml = outrigger(&["inject", "-f", SHOP]).stdout;
    let documents: Vec<Value> = yaml
        .split("---\n")
        .map(|document| outrigger::yaml::read(document).expect("YAML"))
        .collect();
    assert_eq!(list["apiVersion"], "v1");
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"], Value::Array(documents));
}

#[test]
fn the_patch_makes_the_object_what_inject_prints() {
    let patches = outrigger(&["inject", "-f", SHOP, "-o", "patch"]);
    assert_eq!(patches.stdout.lines().count(), 1, "one object changes");
    let patch: json_patch::Patch = serde_json::from_str(&patches.stdout).expect("RFC 6902");
    let mut object = documents(&root().join(SHOP))[1].value.clone();
    json_patch::patch(&mut object, &patch).expect("it applies");
    let json = outrigger(&["inject", "-f", SHOP, "-o", "json"]).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(object, json["items"][1]);
}

#[test]
fn explain_says_what_was_done_for_each() {
    let run = outrigger(&["explain", "-f", SHOP]);
    assert_run(
        &run,
        0,
        r#"Deployment shop in namespace default
  INSTANCE       ROLE        FROM  DECISION  REASON
  https          sidecar     pod   injected  asked
  redis-metrics  adapter     pod   injected  asked
  redis-shard    ambassador  pod   injected  asked

  https: annotation `sidecar.outrigger.dev/https` asks for it
    warning: point the Service's targetPort at 8443: `https` listens there before port 8080, which has no name
    pattern: built-in
    parameters:
      secretName      shop-tls  (pod)
      port            8443      (default)
      minTLS          1.2       (default)
      idleTimeout     5m        (default)
      maxConnections  10000     (default)
      acceptHTTP10    true      (default)
      trustedHops     0         (default)
      concurrency     1         (default)
    adds:
      container https
      volumes outrigger-https-tls, outrigger-https-files, outrigger-https-no-token
      annotations files.outrigger.dev/https.envoy.yaml, files.outrigger.dev/https.sds.yaml
      given ports admin=17002, probe=17003
      stands before port 8080 of shop: listens on 8443, sends to 8080; a Service reaches it by `targetPort: 8443`

  redis-metrics: annotation `adapter.outrigger.dev/redis-metrics` asks for it
    pattern: built-in
    parameters:
      address  redis://localhost:6379  (default)
      port     9121                    (default)
    adds:
      container redis-metrics
      volume outrigger-redis-metrics-no-token
      annotations prometheus.io/path, prometheus.io/port, prometheus.io/scrape

  redis-shard: annotation `ambassador.outrigger.dev/redis-shard` asks for it
    pattern: built-in
    parameters:
      port            6380                                                         (pod)
      shards          ["redis-0.redis:6379","redis-1.redis:6379"]                  (pod)
      onShardFailure  fail                                                         (default)
      opTimeout       2s                                                           (default)
      hashtag         true                                                         (default)
      blockCommands   ["select","config","flushall","flushdb","keys","randomkey"]  (default)
    adds:
      container redis-shard
      volumes outrigger-redis-shard-files, outrigger-redis-shard-no-token
      annotation files.outrigger.dev/redis-shard.envoy.yaml
      given ports admin=17000, probe=17001
"#,
        "",
    );
}

#[test]
fn explain_of_a_misspelt_pattern_asks_what_was_meant() {
    let misspelt = read(SHOP).replace("/redis-metrics", "/redis-metrisc");
    let run = outrigger_with_input(&["explain", "-f", "-"], &misspelt);
    let sentence = "annotation `adapter.outrigger.dev/redis-metrisc`: there is no pattern `redis-metrisc`: did you mean `redis-metrics`?";
    assert_eq!(
        (run.code, run.stderr),
        (
            1,
            format!("error: <stdin>:30:9: Deployment shop is denied: {sentence}\n")
        )
    );
    assert!(
        run.stdout
            .contains(&format!("\n  redis-metrisc: {sentence}\n")),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout
            .starts_with("Deployment shop in namespace default: denied, nothing is injected\n"),
        "{}",
        run.stdout
    );
}

#[test]
fn inject_of_a_misspelt_pattern_prints_no_data_and_promises_nothing() {
    let misspelt = read(SHOP).replace("/redis-metrics", "/redis-metrisc");
    let run = outrigger_with_input(&["inject", "-f", "-"], &misspelt);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(!run.stderr.contains(" injected "), "{}", run.stderr);
}

#[test]
fn explain_in_json_has_the_same_decisions() {
    let run = outrigger(&["explain", "-f", SHOP, "-o", "json"]);
    let objects: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let decision = &objects[0]["decisions"][1];
    assert_eq!(objects[0]["object"], "Deployment shop");
    assert_eq!(objects[0]["namespace"], "default");
    assert_eq!(
        decision
            .as_object()
            .expect("a decision")
            .keys()
            .map(String::as_str)
            .collect::<BTreeSet<_>>(),
        [
            "added",
            "decision",
            "instance",
            "message",
            "parameters",
            "pattern",
            "reason",
            "role",
            "sources",
            "warnings"
        ]
        .into()
    );
    assert_eq!(decision["instance"], "redis-metrics");
    assert_eq!(decision["decision"], "injected");
    assert_eq!(decision["reason"], "asked");
    assert_eq!(
        decision["parameters"][1],
        serde_json::json!({"name": "port", "value": 9121, "from": "default"})
    );
}

#[test]
fn the_image_registry_holds_for_every_helper_and_no_app() {
    let run = outrigger(&[
        "inject",
        "-f",
        SHOP,
        "--image-registry",
        "registry.example:5000/mirror/",
    ]);
    let images: Vec<&str> = run
        .stdout
        .lines()
        .filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("image: "))
        .collect();
    assert_eq!(
        images,
        [
            "registry.example/shop:1.4",
            "redis:7.4",
            "registry.example:5000/mirror/envoyproxy/envoy:distroless-v1.40.0",
            "registry.example:5000/mirror/oliver006/redis_exporter:v1.88.0",
            "registry.example:5000/mirror/envoyproxy/envoy:distroless-v1.40.0",
        ]
    );
}

#[test]
fn annotations_on_the_deployment_itself_are_pointed_at() {
    let misplaced = read(SHOP).replace(
        "kind: Deployment\nmetadata:\n",
        "kind: Deployment\nmetadata:\n  annotations:\n    sidecar.outrigger.dev/https: \"{secretName: shop-tls}\"\n",
    );
    let run = outrigger_with_input(&["inject", "-f", "-"], &misplaced);
    let warning = "warning: <stdin>:18:5: Deployment shop: annotation `sidecar.outrigger.dev/https` does nothing here: move it to the annotations of the Pod template\n";
    assert_eq!((run.code, run.stderr), (0, format!("{warning}{TALK}")));
}
