//! What can be wrong with an annotation, a label, and the parameters in them.

use super::{HTTP, PLAIN, denies, denies_params, pod, quoted, refuses};

const METRICS: &str = "adapter.outrigger.dev/redis-metrics";
const SHARD: &str = "ambassador.outrigger.dev/redis-shard";
const HTTPS: &str = "sidecar.outrigger.dev/https";

/// A key that cannot be read.
#[track_caller]
fn denies_key(key: &str, sentence: &str) {
    denies(key, "''", PLAIN, sentence);
}

#[test]
fn an_unknown_role() {
    denies_key(
        "sidcar.outrigger.dev/https",
        "annotation `sidcar.outrigger.dev/https` means nothing to Outrigger: did you mean `sidecar.outrigger.dev/https`?",
    );
    denies_key(
        "outrigger.dev/https",
        "annotation `outrigger.dev/https` means nothing to Outrigger: did you mean `sidecar.outrigger.dev/https`?",
    );
    denies_key(
        "a.sidecar.outrigger.dev/https",
        "annotation `a.sidecar.outrigger.dev/https` means nothing to Outrigger: did you mean `sidecar.outrigger.dev/https`?",
    );
    denies_key(
        "outrigger.dev/inject",
        "annotation `outrigger.dev/inject` means nothing to Outrigger, expected `<role>.outrigger.dev/<pattern>` with the role `sidecar`, `ambassador` or `adapter`",
    );
}

#[test]
fn an_unknown_pattern() {
    denies_key(
        "adapter.outrigger.dev/redis-metrisc",
        "annotation `adapter.outrigger.dev/redis-metrisc`: there is no pattern `redis-metrisc`: did you mean `redis-metrics`?",
    );
    denies_key(
        "adapter.outrigger.dev/frobnicate",
        "annotation `adapter.outrigger.dev/frobnicate`: there is no pattern `frobnicate`; `outrigger catalog list` shows those there are",
    );
}

#[test]
fn a_name_that_no_pattern_can_have() {
    denies_key(
        "adapter.outrigger.dev/Redis_Metrics",
        "annotation `adapter.outrigger.dev/Redis_Metrics`: `Redis_Metrics` is not a pattern's name: expected at most 28 of a-z, 0-9 and `-`, no `--`: did you mean `redis-metrics`?",
    );
    denies_key(
        "adapter.outrigger.dev/",
        "annotation `adapter.outrigger.dev/`: `` is not a pattern's name: expected at most 28 of a-z, 0-9 and `-`, no `--`",
    );
    denies_key(
        "adapter.outrigger.dev/redis-metrics.sessions-of-the-shop",
        "annotation `adapter.outrigger.dev/redis-metrics.sessions-of-the-shop`: `sessions-of-the-shop` is not a suffix: expected at most 12 of a-z, 0-9 and `-`, no `--`",
    );
    denies_key(
        "adapter.outrigger.dev/redis-metrics.a.b",
        "annotation `adapter.outrigger.dev/redis-metrics.a.b`: `a.b` is not a suffix: expected at most 12 of a-z, 0-9 and `-`, no `--`",
    );
}

#[test]
fn the_wrong_role() {
    denies_key(
        "sidecar.outrigger.dev/redis-metrics",
        "annotation `sidecar.outrigger.dev/redis-metrics`: `redis-metrics` is of the role `adapter`: write `adapter.outrigger.dev/redis-metrics`",
    );
}

#[test]
fn an_unknown_parameter() {
    denies_params(
        METRICS,
        "{prot: 1}",
        PLAIN,
        "unknown parameter `prot`: did you mean `port`?",
    );
    denies_params(
        METRICS,
        "{colour: blue}",
        PLAIN,
        "unknown parameter `colour`, expected `address`, `port`, `user`, `passwordSecret`, `into` or `override`",
    );
    denies_params(
        METRICS,
        "{passwordSecret: {name: a, kye: b}}",
        PLAIN,
        "unknown parameter `passwordSecret.kye`: did you mean `key`?",
    );
}

#[test]
fn a_parameter_of_the_wrong_type() {
    denies_params(
        METRICS,
        "{port: high}",
        PLAIN,
        "parameter `port` is the string `high`, expected an integer",
    );
    // What is in quotes looks like a number: the sentence says what it is.
    denies_params(
        METRICS,
        r#"{port: "9200"}"#,
        PLAIN,
        "parameter `port` is the string `9200`, expected an integer",
    );
    denies_params(
        METRICS,
        "{port: 9200.5}",
        PLAIN,
        "parameter `port` is the number `9200.5`, expected an integer",
    );
    denies_params(
        HTTPS,
        "{secretName: shop-tls, minTLS: 1.3}",
        HTTP,
        "parameter `minTLS` is the number `1.3`, expected a string: put it in quotes",
    );
    denies_params(
        SHARD,
        "{shards: redis-0:6379}",
        PLAIN,
        "parameter `shards` is the string `redis-0:6379`, expected a list",
    );
}

#[test]
fn a_parameter_out_of_range() {
    denies_params(
        METRICS,
        "{port: 80}",
        PLAIN,
        "parameter `port` is `80`, expected at least 1024",
    );
    denies_params(
        METRICS,
        "{port: 70000}",
        PLAIN,
        "parameter `port` is `70000`, expected at most 65535",
    );
    denies_params(
        HTTPS,
        "{secretName: shop-tls, minTLS: '1.1'}",
        HTTP,
        "parameter `minTLS` is `1.1`, expected `1.2` or `1.3`",
    );
    denies_params(
        SHARD,
        "{shards: []}",
        PLAIN,
        "parameter `shards` is `[]`, expected at least 1 item",
    );
    denies_params(
        METRICS,
        "{address: localhost}",
        PLAIN,
        "parameter `address` is `localhost`, expected a match of `^(redis|rediss|valkey|valkeys|unix)://` (the Redis server, as a URL)",
    );
}

#[test]
fn a_required_parameter_that_is_missing() {
    denies_params(
        METRICS,
        "{passwordSecret: {}}",
        PLAIN,
        "parameter `passwordSecret.name` is missing: name of the Secret",
    );
    denies_params(
        HTTPS,
        "",
        HTTP,
        "parameter `secretName` is missing: name of a Secret of type kubernetes.io/tls in the Pod's namespace; a renewed certificate is served without a restart",
    );
}

/// A value that cannot be read as parameters.
#[track_caller]
fn denies_value(value: &str, sentence: &str) {
    denies(
        METRICS,
        value,
        PLAIN,
        &format!("annotation `{METRICS}` {sentence}"),
    );
}

#[test]
fn yaml_that_does_not_parse() {
    denies_value(
        "'{port: 9200'",
        "is not YAML at line 1, column 1: unclosed bracket '{' in `{port: 9200`",
    );
    denies_value(
        "|\n      port: 9200\n      user: [a",
        "is not YAML at line 2, column 7: unclosed bracket '[' in `port: 9200 user: [a`",
    );
    denies_value(
        r#""{}\n---\n{}""#,
        "is not YAML at line 2, column 1: more than one document in `{} --- {}`",
    );
}

#[test]
fn duplicate_keys() {
    denies_value(
        "'{port: 9200, port: 9300}'",
        "is not YAML at line 1, column 14: duplicate key `port` in `{port: 9200, port: 9300}`",
    );
}

#[test]
fn a_billion_laughs() {
    let bomb = "{a: &a [x, x], b: &b [*a, *a, *a], c: [*b, *b, *b]}";
    denies_value(
        &quoted(bomb),
        &format!(
            "is not YAML at line 1, column 8: anchors and aliases are not allowed here in `{bomb}`"
        ),
    );
}

#[test]
fn a_value_that_nests_without_end() {
    let shown = format!("{}…", "[".repeat(59));
    for (value, problem) in [
        (
            "[".repeat(100) + &"]".repeat(100),
            "line 1, column 33: nested deeper than 32",
        ),
        ("[".repeat(5_000), "line 1, column 256: nested too deep"),
    ] {
        denies_value(
            &quoted(&value),
            &format!("is not YAML at {problem} in `{shown}`"),
        );
    }
}

#[test]
fn a_value_of_200_kibibytes() {
    denies_value(
        &quoted(&format!("{{user: {}}}", "x".repeat(200 * 1024))),
        "is 204808 bytes long, expected at most 65536",
    );
}

#[test]
fn a_value_that_is_no_mapping() {
    for value in ["yes", "[a]", "9200"] {
        denies_value(
            &quoted(value),
            &format!(
                "is `{value}`, expected a mapping such as `{{port: 8080}}`, or `true`, or `false`"
            ),
        );
    }
}

#[test]
fn a_value_that_is_no_string() {
    for (value, shown) in [
        ("false", "false"),
        ("9200", "9200"),
        ("{port: 9200}", r#"{"port":9200}"#),
        ("[a]", r#"["a"]"#),
    ] {
        denies_value(
            value,
            &format!("is `{shown}`, expected a string: put single quotes around it"),
        );
    }
    denies_value("", "has no value: write `\"\"` for all defaults");
}

#[test]
fn into_that_names_no_container() {
    denies_params(
        SHARD,
        "{shards: ['a:1'], into: [nosuch]}",
        PLAIN,
        "`into` names `nosuch`, which is no app container of this Pod, expected `app`, `main` or `all`",
    );
    denies_params(
        SHARD,
        "{shards: ['a:1'], into: [ap]}",
        PLAIN,
        "`into` names `ap`, which is no app container of this Pod: did you mean `app`?",
    );
    denies_params(
        SHARD,
        "{shards: ['a:1'], into: 7}",
        PLAIN,
        "`into` is `7`, expected a list of container names, `main` or `all`",
    );
}

#[test]
fn override_of_what_may_not_be() {
    denies_params(
        METRICS,
        "{override: {securityContext: {privileged: true}}}",
        PLAIN,
        "`override.securityContext` is not allowed by the pattern `redis-metrics`, expected `image`, `imagePullPolicy`, `resources` or `env`",
    );
    denies_params(
        METRICS,
        "{override: {imge: mine:1}}",
        PLAIN,
        "`override.imge` is not allowed by the pattern `redis-metrics`: did you mean `image`?",
    );
    denies_params(
        METRICS,
        "{override: big}",
        PLAIN,
        "`override` is `big`, expected a mapping of container fields",
    );
}

#[test]
fn override_that_makes_no_container() {
    denies_params(
        METRICS,
        "{override: {image: null}}",
        PLAIN,
        "container `redis-metrics`: there is no image",
    );
    denies_params(
        METRICS,
        "{override: {resources: {limits: {memory: lots}}}}",
        PLAIN,
        "container `redis-metrics`: resources: `lots` is not a quantity such as `100m` or `64Mi`",
    );
    denies_params(
        METRICS,
        "{override: {resources: {requests: {memory: 1Gi}}}}",
        PLAIN,
        "container `redis-metrics`: resources: the memory request `1Gi` is above the limit `96Mi`",
    );
}

#[test]
fn a_label_of_another_value() {
    let labelled = |value: &str| {
        pod("unused: ''", PLAIN).replace(
            "  annotations:\n    unused: ''\n",
            &format!("  labels:\n    outrigger.dev/injection: {value}\n"),
        )
    };
    refuses(
        &labelled("disbaled"),
        "error: pod.yaml:6:5: Pod shop is denied: label `outrigger.dev/injection` is `disbaled`, expected `enabled` or `disabled`\n",
    );
    refuses(
        &labelled("false"),
        "error: pod.yaml:6:5: Pod shop is denied: label `outrigger.dev/injection` is not a string: write `enabled` or `disabled` instead of `false`\n",
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let two = format!("{METRICS}: '{{port: 80}}'\n    {SHARD}: ''");
    refuses(
        &pod(&two, PLAIN),
        &format!(
            "error: pod.yaml:6:5: Pod shop is denied: annotation `{METRICS}`: parameter `port` is `80`, expected at least 1024\n\
             error: pod.yaml:7:5: Pod shop is denied: annotation `{SHARD}`: parameter `shards` is missing: the servers, each as host:port; a key's place depends on their order\n"
        ),
    );
}
