//! The other verbs, and what they have in common.

use serde_json::Value;

use crate::support::{assert_run, outrigger};

#[test]
fn catalog_list() {
    let run = outrigger(&["catalog", "list"]);
    assert_run(
        &run,
        0,
        "\
NAME            ROLE        FROM      SUMMARY
https           sidecar     built-in  Serve a plain HTTP app over HTTPS, with the certificate of a Secret.
leader-elector  sidecar     built-in  Elect one leader among Pods, and tell the app on localhost who it is.
readiness       sidecar     built-in  Make the Pod ready when what the app needs is there, by named checks.
redis-metrics   adapter     built-in  Expose a Redis server's metrics in the Prometheus format.
redis-shard     ambassador  built-in  Spread keys over several Redis servers behind one address on localhost.
redis-slowlog   adapter     built-in  Print a Redis server's slow log, each entry once, as JSON lines.
scatter-gather  ambassador  built-in  Send each request on localhost to all leaves, and answer with their answers merged.
sql-health      adapter     built-in  Make the Pod ready when its SQL database answers a real query.
work-queue      ambassador  built-in  Take items from a Redis stream, and POST each to the app until it is done.
",
        "",
    );
}

#[test]
fn catalog_list_as_markdown() {
    let run = outrigger(&["catalog", "list", "-o", "markdown"]);
    assert_run(
        &run,
        0,
        "\
| name | role | summary |
| --- | --- | --- |
| https | sidecar | Serve a plain HTTP app over HTTPS, with the certificate of a Secret. |
| leader-elector | sidecar | Elect one leader among Pods, and tell the app on localhost who it is. |
| readiness | sidecar | Make the Pod ready when what the app needs is there, by named checks. |
| redis-metrics | adapter | Expose a Redis server's metrics in the Prometheus format. |
| redis-shard | ambassador | Spread keys over several Redis servers behind one address on localhost. |
| redis-slowlog | adapter | Print a Redis server's slow log, each entry once, as JSON lines. |
| scatter-gather | ambassador | Send each request on localhost to all leaves, and answer with their answers merged. |
| sql-health | adapter | Make the Pod ready when its SQL database answers a real query. |
| work-queue | ambassador | Take items from a Redis stream, and POST each to the app until it is done. |
",
        "",
    );
}

#[test]
fn catalog_list_as_json() {
    let run = outrigger(&["catalog", "list", "-o", "json"]);
    let patterns: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let first = patterns[0].as_object().expect("a pattern");
    let keys: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(keys, ["name", "role", "from", "summary", "revision"]);
    let names: Vec<&Value> = patterns
        .as_array()
        .expect("a list")
        .iter()
        .map(|pattern| &pattern["name"])
        .collect();
    assert!(names.is_sorted_by_key(|name| name.as_str()), "{names:?}");
    assert!(names.contains(&&Value::from("redis-shard")), "{names:?}");
}

/// A pattern of the namespace stands in for the built-in one of the same name, there and nowhere else.
#[test]
fn catalog_list_of_a_namespace() {
    let context = "tests/fixtures/inject/shadow-asked/context.yaml";
    let from = |namespace: &str| {
        let run = outrigger(&["catalog", "list", "--context", context, "-n", namespace]);
        let line = run
            .stdout
            .lines()
            .find(|line| line.starts_with("redis-metrics "))
            .expect("the pattern")
            .to_owned();
        line.split_whitespace().nth(2).expect("FROM").to_owned()
    };
    assert_eq!(from("shop"), "shop");
    assert_eq!(from("till"), "built-in");
}

#[test]
fn catalog_show() {
    let run = outrigger(&["catalog", "show", "redis-metrics"]);
    assert_run(
        &run,
        0,
        "\
redis-metrics (adapter): Expose a Redis server's metrics in the Prometheus format.

use
  adapter.outrigger.dev/redis-metrics: \"\"

parameters
  PARAMETER       TYPE                DEFAULT                 MEANING
  address         string              redis://localhost:6379  The Redis server, as a URL.
  port            integer 1024–65535  9121                    Port that serves /metrics.
  user            string                                      ACL user to log in as; the default user if it is left out.
  passwordSecret  object                                      Secret of the Pod's namespace that holds the password.

images
  oliver006/redis_exporter:v1.88.0
",
        "",
    );
}

#[test]
fn catalog_show_as_markdown() {
    let run = outrigger(&["catalog", "show", "redis-metrics", "-o", "markdown"]);
    assert_run(
        &run,
        0,
        "\
# redis-metrics

Expose a Redis server's metrics in the Prometheus format.

```yaml
adapter.outrigger.dev/redis-metrics: \"\"
```

| parameter | type | default | meaning |
| --- | --- | --- | --- |
| `address` | string | `redis://localhost:6379` | The Redis server, as a URL. |
| `port` | integer 1024–65535 | `9121` | Port that serves /metrics. |
| `user` | string |  | ACL user to log in as; the default user if it is left out. |
| `passwordSecret` | object |  | Secret of the Pod's namespace that holds the password. |
",
        "",
    );
}

#[test]
fn catalog_show_as_json() {
    let run = outrigger(&["catalog", "show", "redis-metrics", "-o", "json"]);
    let pattern: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(pattern["name"], "redis-metrics");
    assert_eq!(pattern["params"]["properties"]["port"]["default"], 9121);
    assert_eq!(pattern["spec"]["role"], "adapter");
}

/// What `catalog show` says to write works as it is written.
#[test]
fn catalog_show_gives_an_example_that_works() {
    for name in ["https", "redis-metrics", "redis-shard"] {
        let run = outrigger(&["catalog", "show", name]);
        let line = run
            .stdout
            .lines()
            .find(|line| line.contains(".outrigger.dev/"))
            .expect("an example")
            .trim();
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: shop\n  annotations:\n    {line}\nspec:\n  containers:\n  - {{name: app, image: 'shop:1', ports: [{{name: http, containerPort: 8080}}]}}\n"
        );
        let run = crate::support::outrigger_with_input(&["inject", "-f", "-"], &pod);
        assert_eq!(run.code, 0, "{line}: {}", run.stderr);
    }
}

#[test]
fn catalog_show_of_a_misspelt_name() {
    assert_run(
        &outrigger(&["catalog", "show", "redis-metrisc"]),
        1,
        "",
        "error: there is no pattern `redis-metrisc`: did you mean `redis-metrics`?\n",
    );
    assert_run(
        &outrigger(&["catalog", "show", "frobnicate"]),
        1,
        "",
        "error: there is no pattern `frobnicate`; `outrigger catalog list` shows those there are\n",
    );
}

#[test]
fn lint_of_the_built_ins() {
    assert_run(
        &outrigger(&["lint", "patterns"]),
        0,
        "",
        "9 objects checked: 0 errors, 0 warnings\n",
    );
}

#[test]
fn lint_gives_advice() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("logs.yaml");
    std::fs::write(
        &file,
        "\
apiVersion: outrigger.dev/v1alpha1
kind: Pattern
metadata:
  name: logs
spec:
  role: sidecar
  containers:
  - image: logs
    env:
    - {name: API_TOKEN, value: s3cret}
    resources:
      requests: {cpu: 5m}
      limits: {cpu: 5m}
    securityContext:
      runAsNonRoot: true
      runAsUser: 1000
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      seccompProfile: {type: RuntimeDefault}
  volumes:
  - name: host
    hostPath: {path: /var/log}
",
    )
    .expect("it is written");
    let file = file.to_str().expect("UTF-8");
    assert_run(
        &outrigger(&["lint", file]),
        0,
        "",
        &format!(
            "\
warning: {file}:14:5: Pattern logs: `spec.containers[0].securityContext`: Pod Security `restricted` wants `capabilities: {{drop: [ALL]}}`
warning: {file}:8:5: Pattern logs: `spec.containers[0].image`: the image has no tag or digest: what runs changes under you
warning: {file}:10:7: Pattern logs: `spec.containers[0].env[0]`: `API_TOKEN` looks like a secret in the clear: take it from a Secret with `secretKeyRef`
warning: {file}:21:5: Pattern logs: `spec.volumes[0]`: Pod Security `restricted` refuses `hostPath` volumes
1 object checked: 0 errors, 4 warnings
"
        ),
    );
}

#[test]
fn completions() {
    for (shell, mark) in [
        ("bash", "complete -F _outrigger"),
        ("zsh", "#compdef outrigger"),
        ("fish", "complete -c outrigger"),
    ] {
        let run = outrigger(&["completions", shell]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{shell}");
        assert!(run.stdout.contains(mark), "{shell}");
        for verb in ["inject", "uninject", "explain", "catalog", "lint"] {
            assert!(run.stdout.contains(verb), "{shell} does not know {verb}");
        }
    }
}

#[test]
fn every_verb_has_help_that_names_its_flags() {
    let world = ["--namespace", "--context", "--home", "--image-registry"];
    let input = ["--filename", "--output"];
    for (verb, flags) in [
        (&["inject"][..], [&world[..], &input[..]].concat()),
        (&["uninject"], input.to_vec()),
        (&["explain"], [&world[..], &input[..]].concat()),
        (&["catalog"], vec!["list", "show"]),
        (&["catalog", "list"], [&world[..], &["--output"]].concat()),
        (&["catalog", "show"], [&world[..], &["--output"]].concat()),
        (&["lint"], vec!["--home", "<FILE>"]),
        (&["completions"], vec!["bash", "zsh", "fish"]),
    ] {
        let run = outrigger(&[verb, &["--help"]].concat());
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{verb:?}");
        for flag in flags {
            assert!(
                run.stdout.contains(flag),
                "{verb:?}: {flag}\n{}",
                run.stdout
            );
        }
    }
}

#[test]
fn the_version() {
    let version = concat!("outrigger ", env!("CARGO_PKG_VERSION"), "\n");
    assert_run(&outrigger(&["--version"]), 0, version, "");
}

#[test]
fn usage_errors_end_with_2() {
    let run = outrigger(&["inject"]);
    assert_run(
        &run,
        2,
        "",
        "\
error: the following required arguments were not provided:
  --filename <FILE>...

Usage: outrigger inject --filename <FILE>...

For more information, try '--help'.
",
    );
    let run = outrigger(&["inject", "-f", "examples/shop.yaml", "-o", "toml"]);
    assert_run(
        &run,
        2,
        "",
        "\
error: invalid value 'toml' for '--output <OUTPUT>'
  [possible values: yaml, json, patch, diff]

For more information, try '--help'.
",
    );
    for arguments in [&["injct"][..], &["inject", "--nosuch"], &[]] {
        assert_eq!(outrigger(arguments).code, 2, "{arguments:?}");
    }
}
