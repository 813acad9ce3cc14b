//! What a helper finds in its file system: its config files, as the pattern has them, and no token.

use outrigger_e2e::{Cluster, Space, calm, outrigger, pattern, pod, until};
use serde_json::{Value, json};

/// What YAML, JSON, a template, an annotation or a shell might have made something else of.
const ODD: &str = concat!(
    "  plain\r\nquotes: ' \" ` $HOME $(WORD) %s\r",
    "backslashes: \\ \\n \\u0041\ttab\n\n",
    "controls: \u{1}\u{1b}\u{7f}\u{85}\u{2028}\u{feff}\n",
    "--- # no document ---\n",
    "words: ä 漢字 🛶 e\u{301}\n\n \n\n",
);

/// A helper with config files.
fn reader(files: Value) -> Value {
    let mut reader = pattern("reader");
    reader["spec"]["files"] = files;
    reader
}

/// A Pod of the helper's, ready.
async fn run(space: &Space, parameters: &str) {
    let asks = json!({"sidecar.outrigger.dev/reader": parameters});
    space.create(&pod("shop", asks)).await.expect("a Pod");
    space.ready("shop").await;
}

/// What a command in a container prints.
async fn prints(space: &Space, container: &str, command: &[&str]) -> String {
    let exec = ["exec", "shop", "-c", container, "--"];
    let printed = space.kubectl(&[&exec, command].concat()).await;
    printed.expect("an output")
}

async fn content(space: &Space, file: &str) -> String {
    prints(space, "reader", &["cat", &format!("/etc/outrigger/{file}")]).await
}

#[tokio::test]
async fn a_config_file_arrives_as_it_is_and_follows_its_annotation() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("work-files", json!({})).await;
    let long = format!("{ODD}{}", "a line of a long file\n".repeat(5000));
    let files = json!({
        "odd.txt": ODD,
        "long.txt": long,
        "word.json": "{{ params.word | json }}",
    });
    space.define(&reader(files)).await;
    // JSON is YAML, once its control characters are escaped.
    let parameters = json!({"word": ODD}).to_string();
    run(&space, &parameters.replace('\u{7f}', "\\u007f")).await;
    assert_eq!(content(&space, "odd.txt").await, ODD);
    assert_eq!(content(&space, "long.txt").await, long);
    let parsed: Value = serde_json::from_str(&content(&space, "word.json").await).expect("JSON");
    assert_eq!(parsed, ODD);
    // Nobody but root owns them, and anybody in the container may read them.
    assert_eq!(prints(&space, "reader", &["id", "-u"]).await, "65532\n");

    assert_eq!(
        state(&space).await,
        json!({"state": "has", "reason": "carried", "message": ""})
    );
    let key = "files.outrigger.dev/reader.odd.txt";
    let edited = format!("edited\r\n{ODD}");
    let edit = format!("{key}={edited}");
    space
        .kubectl(&["annotate", "pod/shop", "--overwrite", &edit])
        .await
        .expect("annotated");
    until("the file to follow", async || {
        (content(&space, "odd.txt").await == edited).then_some(())
    })
    .await;
    assert_eq!(content(&space, "long.txt").await, long);
    let message = format!("annotation `{key}` is not what was injected");
    assert_eq!(
        state(&space).await,
        json!({"state": "drifted", "reason": "drifted", "message": message})
    );
    let back = format!("{key}={ODD}");
    space
        .kubectl(&["annotate", "pod/shop", "--overwrite", &back])
        .await
        .expect("annotated");
    assert_eq!(state(&space).await["state"], "has");
}

/// How the one helper stands, by `outrigger status`.
async fn state(space: &Space) -> Value {
    let status = outrigger(&["status", "-n", &space.name, "-o", "json"]).await;
    let rows: Value = serde_json::from_str(&status.expect("a status").stdout).expect("JSON");
    let [row] = rows.as_array().expect("rows").as_slice() else {
        panic!("{rows:#}");
    };
    assert_eq!([&row["workload"], &row["instance"]], ["Pod/shop", "reader"]);
    json!({"state": row["state"], "reason": row["reason"], "message": row["message"]})
}

#[tokio::test]
async fn only_a_helper_whose_pattern_says_so_sees_the_apps_token() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("work-token", json!({})).await;
    let mut trusted = pattern("trusted");
    trusted["spec"]["serviceAccountToken"] = json!(true);
    for pattern in [reader(json!({})), trusted] {
        space.define(&pattern).await;
    }
    let asks = json!({"sidecar.outrigger.dev/reader": "", "sidecar.outrigger.dev/trusted": ""});
    space.create(&pod("shop", asks)).await.expect("a Pod");
    space.ready("shop").await;
    let list = ["ls", "/var/run/secrets/kubernetes.io/serviceaccount"];
    let token = "ca.crt\nnamespace\ntoken\n";
    for (container, expected) in [("app", token), ("trusted", token), ("reader", "")] {
        assert_eq!(
            prints(&space, container, &list).await,
            expected,
            "{container}"
        );
    }
}
