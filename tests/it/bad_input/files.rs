//! Files that are no YAML, no Pods, or no files.

use super::{PLAIN, among, within};
use crate::support::{Run, assert_run, command, run};

/// Injects a file of this content.
fn inject(content: &[u8]) -> Run {
    among(&[("f.yaml", content)], &["inject", "-f", "f.yaml"])
}

#[track_caller]
fn refuses(content: impl AsRef<[u8]>, stderr: &str) {
    assert_run(&inject(content.as_ref()), 1, "", stderr);
}

#[test]
fn yaml_that_does_not_parse() {
    refuses(
        "apiVersion: v1\nkind: Pod\nspec: [\n",
        "error: f.yaml:3:7: not YAML: unclosed bracket '['\n",
    );
    refuses(
        "a: 1\n---\nb: 1\n---\nc: 1\n\td: 1\n",
        "error: f.yaml:5:4: not YAML: while scanning a plain scalar, found a tab\n",
    );
}

/// A line that looks like a directive is one only before a document; anywhere else it must not get lost.
#[test]
fn a_directive_in_the_middle() {
    refuses(
        "a: 1\n%b: 2\n",
        "error: f.yaml:2:1: not YAML: missing explicit document end marker before directive\n",
    );
}

#[test]
fn duplicate_keys() {
    refuses(
        "apiVersion: v1\nkind: Pod\nkind: Pod\n",
        "error: f.yaml:3:1: not YAML: duplicate key `kind`\n",
    );
}

#[test]
fn a_billion_laughs() {
    let level = |level: usize| {
        format!(
            "a{level}: &a{level} [{}]\n",
            format!("*a{}, ", level - 1).repeat(9)
        )
    };
    let bomb: Vec<String> = (1..12).map(level).collect();
    let bomb = format!("a0: &a0 [x]\n{}", bomb.concat());
    refuses(
        bomb,
        "error: f.yaml:7:20: not YAML: more than 400000 values\n",
    );
}

#[test]
fn a_document_that_nests_without_end() {
    refuses(
        format!("a: {}", "[".repeat(100_000)),
        "error: f.yaml:1:259: not YAML: nested too deep\n",
    );
}

#[test]
fn what_is_no_text() {
    refuses(
        b"apiVersion: v1\nkind: \xff\xfe\n",
        "error: f.yaml:2:7: not YAML: the file is not UTF-8\n",
    );
    // As PowerShell writes it.
    refuses(
        b"\xff\xfea\x00:\x00",
        "error: f.yaml:1:1: not YAML: the file is not UTF-8\n",
    );
    refuses(
        "apiVersion: v1\nkind: Pod\0\n",
        "error: f.yaml:2:10: not YAML: unexpected character: `\\u{0}'\n",
    );
}

#[test]
fn standard_input_that_is_no_text() {
    let run = run(command(&["inject", "-f", "-"]), b"a: \xff");
    assert_run(
        &run,
        1,
        "",
        "error: <stdin>:1:4: not YAML: the file is not UTF-8\n",
    );
}

#[test]
fn ten_megabytes() {
    let text = format!("data: {}\n", "x".repeat(10_000_000));
    assert_run(&inject(text.as_bytes()), 0, &text, "");
    refuses(
        format!("[{}]\n", "1, ".repeat(1_000_000)),
        "error: f.yaml:1:1199999: not YAML: more than 400000 values\n",
    );
}

#[test]
fn nothing_at_all() {
    for nothing in ["", "\n\n", "---\n---\n"] {
        assert_run(&inject(nothing.as_bytes()), 0, "", "");
    }
}

#[test]
fn what_is_no_object() {
    for text in ["hello\n", "- a\n- b\n", "# only a comment\n", "5\n"] {
        assert_run(&inject(text.as_bytes()), 0, text, "");
    }
}

#[test]
fn a_pod_that_is_none() {
    let head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: shop\n";
    refuses(
        head,
        "error: f.yaml:1:1: Pod shop: not a Pod: missing field `spec`\n",
    );
    refuses(
        format!("{head}spec: 5\n"),
        "error: f.yaml:5:1: Pod shop: not a Pod: at `spec`: invalid type: integer `5`, expected a mapping\n",
    );
    refuses(
        format!("{head}spec: {{}}\n"),
        "error: f.yaml:5:1: Pod shop: not a Pod: at `spec`: missing field `containers`\n",
    );
    refuses(
        format!("{head}{PLAIN}    ports:\n    - containerPort: \"80\"\n"),
        "error: f.yaml:10:7: Pod shop: not a Pod: at `spec.containers[0].ports[0].containerPort`: invalid type: string \"80\", expected an integer\n",
    );
    refuses(
        format!("{head}  annotations: [a]\n{PLAIN}"),
        "error: f.yaml:5:3: Pod shop: not a Pod: at `metadata.annotations`: invalid type: sequence, expected a mapping of strings\n",
    );
    refuses(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: shop\nspec:\n  template: null\n",
        "error: f.yaml:6:3: Deployment shop: not a Pod: invalid type: null, expected a mapping\n",
    );
}

#[test]
fn files_that_are_not_there() {
    let run = among(&[], &["inject", "-f", "nosuch.yaml"]);
    assert_run(
        &run,
        2,
        "",
        "error: nosuch.yaml: No such file or directory (os error 2)\n",
    );
    let run = among(
        &[("f.yaml", b"")],
        &["inject", "-f", "f.yaml", "--context", "nosuch.yaml"],
    );
    assert_run(
        &run,
        2,
        "",
        "error: nosuch.yaml: No such file or directory (os error 2)\n",
    );
}

#[test]
fn a_directory_without_yaml() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("manifests")).expect("it is made");
    std::fs::write(directory.path().join("manifests/README.md"), "# hi").expect("it is written");
    assert_run(
        &within(directory.path(), &["inject", "-f", "manifests"]),
        2,
        "",
        "error: manifests: no .yaml, .yml or .json file is in this directory\n",
    );
}

#[test]
fn a_context_of_other_things() {
    let context = |text: &str| {
        among(
            &[("f.yaml", b""), ("c.yaml", text.as_bytes())],
            &["inject", "-f", "f.yaml", "--context", "c.yaml"],
        )
    };
    assert_run(
        &context("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"),
        1,
        "",
        "error: c.yaml:2:1: ConfigMap x: `kind`: expected a Namespace, a Pattern or a PatternBinding\n",
    );
    assert_run(
        &context("apiVersion: v1\nkind: Namespace\nmetadata: {}\n"),
        1,
        "",
        "error: c.yaml:3:1: Namespace: `metadata`: missing field `name`\n",
    );
}
