//! Patterns and bindings that `lint`, and every load, refuses.

use super::among;
use crate::support::{assert_run, outrigger};

/// Line 9 is the first that a test adds, at the container's indentation or the spec's.
const PATTERN: &str = "\
apiVersion: outrigger.dev/v1alpha1
kind: Pattern
metadata:
  name: logs
spec:
  role: sidecar
  containers:
  - image: logs:1
";

const BINDING: &str = "\
apiVersion: outrigger.dev/v1alpha1
kind: PatternBinding
metadata:
  name: logs
spec:
";

/// One fault, at `place`, of the object called so.
#[track_caller]
fn refuses_object(text: &str, object: &str, place: &str, sentence: &str) {
    let run = among(&[("f.yaml", text.as_bytes())], &["lint", "f.yaml"]);
    let stderr = format!(
        "error: f.yaml:{place}: {object}: {sentence}\n1 object checked: 1 error, 0 warnings\n"
    );
    assert_run(&run, 1, "", &stderr);
}

#[track_caller]
fn refuses(more: &str, place: &str, sentence: &str) {
    refuses_object(&format!("{PATTERN}{more}"), "Pattern logs", place, sentence);
}

#[track_caller]
fn refuses_binding(spec: &str, place: &str, sentence: &str) {
    refuses_object(
        &format!("{BINDING}{spec}"),
        "PatternBinding logs",
        place,
        sentence,
    );
}

#[track_caller]
fn refuses_condition(expression: &str, sentence: &str) {
    refuses_binding(
        &format!(
            "  pattern: https\n  match:\n    matchConditions:\n    - name: c\n      expression: {expression}\n"
        ),
        "10:7",
        &format!("`spec.match.matchConditions[0].expression`: {sentence}"),
    );
}

#[test]
fn an_unknown_field() {
    refuses(
        "  initContaners: []\n",
        "9:3",
        "`spec.initContaners`: unknown field `initContaners`: did you mean `initContainers`?",
    );
    refuses(
        "    imagePulPolicy: Always\n",
        "9:5",
        "`spec.containers[0].imagePulPolicy`: unknown field `imagePulPolicy`",
    );
    refuses(
        "  params:\n    type: object\n    proprties: {}\n",
        "11:5",
        "`spec.params.proprties`: unknown schema keyword `proprties`: did you mean `properties`?",
    );
    refuses_binding(
        "  pattern: https\n  enforcment: Required\n",
        "7:3",
        "`spec.enforcment`: unknown field `enforcment`: did you mean `enforcement`?",
    );
}

#[test]
fn an_unknown_value() {
    refuses_object(
        &PATTERN.replace("sidecar", "sidecat"),
        "Pattern logs",
        "6:3",
        "`spec.role`: unknown variant `sidecat`: did you mean `sidecar`?",
    );
    refuses_binding(
        "  pattern: https\n  enforcement: required\n",
        "7:3",
        "`spec.enforcement`: unknown variant `required`: did you mean `Required`?",
    );
}

#[test]
fn a_field_that_is_missing() {
    refuses_object(
        &PATTERN.replace("  role: sidecar\n", ""),
        "Pattern logs",
        "5:1",
        "`spec`: missing field `role`",
    );
    refuses_object(
        &PATTERN.replace("  containers:\n  - image: logs:1\n", ""),
        "Pattern logs",
        "5:1",
        "`spec.containers`: a pattern has at least one container: give `containers` or `initContainers`",
    );
}

#[test]
fn a_kind_or_version_that_is_not_ours() {
    let lint = |text: &str| among(&[("f.yaml", text.as_bytes())], &["lint", "f.yaml"]);
    assert_run(
        &lint(&PATTERN.replace("Pattern", "Patern")),
        1,
        "",
        "error: f.yaml:2:1: Patern logs: `kind`: `Patern` is no kind of outrigger.dev/v1alpha1: did you mean `Pattern`?\n0 objects checked: 1 error, 0 warnings\n",
    );
    assert_run(
        &lint(&PATTERN.replace("v1alpha1", "v1")),
        1,
        "",
        "error: f.yaml:1:1: Pattern logs: `apiVersion`: `outrigger.dev/v1` is not known, expected `outrigger.dev/v1alpha1`\n0 objects checked: 1 error, 0 warnings\n",
    );
    assert_run(
        &lint("apiVersion: v1\nkind: Pod\n"),
        1,
        "",
        "0 objects checked: 0 errors, 0 warnings\nerror: there is no Pattern and no PatternBinding among the documents\n",
    );
}

#[test]
fn a_name_that_is_too_long() {
    let name = "a".repeat(29);
    refuses_object(
        &PATTERN.replace("logs\n", &format!("{name}\n")),
        &format!("Pattern {name}"),
        "4:3",
        &format!(
            "`metadata.name`: `{name}` is not a pattern's name: expected at most 28 of a-z, 0-9 and `-`, no `--`, starting and ending with a letter or digit"
        ),
    );
}

#[test]
fn a_template_error() {
    refuses(
        "    args: [\"{{ params.level \"]\n",
        "9:12",
        "`spec.containers[0].args[0]`: `{{ params.level `: `{{` without `}}`",
    );
    refuses(
        "    args: [\"{{ parms.level }}\"]\n",
        "9:12",
        "`spec.containers[0].args[0]`: `parms` is not a name that templates know: did you mean `params`?",
    );
    let params = "  params:\n    type: object\n    properties:\n      level: {type: string, default: info}\n";
    refuses(
        &format!("    args: [\"{{{{ params.levle }}}}\"]\n{params}"),
        "9:12",
        "`spec.containers[0].args[0]`: `params.levle` is not in the schema: did you mean `level`?",
    );
    refuses(
        &format!("    args: [\"{{{{ params.level | jsn }}}}\"]\n{params}"),
        "9:12",
        "`spec.containers[0].args[0]`: `{{ params.level | jsn }}`: unknown filter `jsn`: did you mean `json`?",
    );
}

#[test]
fn a_template_error_in_a_file() {
    refuses(
        "  files:\n    a.conf: |\n      ok\n      {% if %}\n",
        "10:5",
        "`spec.files.a.conf`: line 2: unexpected end of block",
    );
    refuses(
        "  files:\n    a.yaml: |\n      level: {{ params.level }}\n  params:\n    type: object\n    properties:\n      level: {type: string, default: info}\n",
        "10:5",
        "`spec.files.a.yaml`: line 1: a string without an encoder: write `| json`",
    );
}

#[test]
fn a_template_without_end() {
    let ten = "[0,1,2,3,4,5,6,7,8,9]";
    let head = ["a", "b", "c", "d", "e", "f"]
        .map(|name| format!("{{% for {name} in {ten} %}}"))
        .concat();
    let foot = "{% endfor %}".repeat(6);
    refuses(
        &format!("  files:\n    a.conf: |\n      {head}x{foot}\n"),
        "10:5",
        "`spec.files.a.conf`: line 1: takes more than 500000 steps",
    );
}

/// A native sidecar that waits for the app before it counts as started: the app starts after it.
#[test]
fn a_pattern_that_would_deadlock_start_up() {
    refuses(
        "    startupProbe: {tcpSocket: {port: \"{{ upstream.port }}\"}}\n    ports: [{containerPort: 81}]\n  interpose: {port: http}\n",
        "9:5",
        "`spec.containers[0].startupProbe`: waits for `upstream.port`, but the app starts only after this container has started: the Pod would hang",
    );
    refuses(
        "    lifecycle:\n      postStart: {httpGet: {port: \"{{ app.ports[0].containerPort }}\"}}\n",
        "10:7",
        "`spec.containers[0].lifecycle.postStart`: waits for `app.ports`, but the app starts only after this container has started: the Pod would hang",
    );
    let run = among(
        &[(
            "f.yaml",
            format!("{PATTERN}    startupProbe: {{tcpSocket: {{port: 8080}}}}\n").as_bytes(),
        )],
        &["lint", "f.yaml"],
    );
    assert!(
        run.stderr.contains("container `logs`: startupProbe asks port 8080, which this container does not declare: if it is the app's, the Pod hangs, since the app starts after this container\n"),
        "{}",
        run.stderr
    );
    assert_eq!(run.code, 1);
}

#[test]
fn an_interposer_without_a_port_of_its_own() {
    refuses(
        "  interpose: {port: http}\n",
        "9:3",
        "`spec.interpose`: an interposer's first container has a first port: it takes the app's place",
    );
}

#[test]
fn a_volume_that_is_not_there() {
    refuses(
        "    volumeMounts: [{name: dta, mountPath: /a}]\n  volumes: [{name: data, emptyDir: {}}]\n",
        "9:21",
        "`spec.containers[0].volumeMounts[0].name`: `dta` is no volume of this pattern: did you mean `data`?",
    );
}

#[test]
fn parameters_that_contradict_themselves() {
    let params = |property: &str| {
        format!("  params:\n    type: object\n    properties:\n      a: {property}\n")
    };
    refuses(
        &params("{type: integer, default: x}"),
        "12:26",
        "`spec.params.properties.a.default`: `x` does not satisfy the parameter's own schema",
    );
    refuses(
        "  params: {type: string}\n",
        "9:12",
        "`spec.params.type`: the root of `params` is an object: write `type: object`",
    );
    refuses(
        "  params:\n    type: object\n    properties:\n      into: {type: string}\n",
        "12:7",
        "`spec.params.properties.into`: `into` belongs to every pattern: choose another name",
    );
}

#[test]
fn fields_that_are_outriggers() {
    refuses(
        "    restartPolicy: Always\n",
        "9:5",
        "`spec.containers[0].restartPolicy`: Outrigger sets `restartPolicy`: say `native` and choose between `containers` and `initContainers`",
    );
    refuses(
        "  podMetadata:\n    annotations: {outrigger.dev/x: a}\n",
        "10:5",
        "`spec.podMetadata.annotations`: `outrigger.dev/x`: keys under `outrigger.dev` are Outrigger's own",
    );
}

#[test]
fn a_cel_error() {
    refuses_condition(
        "object.spec.",
        "not CEL: <input>:1:13: Syntax error: no viable alternative at input '.'",
    );
    refuses_condition(
        "pod.spec.hostNetwork",
        "`pod` is not known here, expected `object` or `namespaceObject`",
    );
    refuses_condition(
        "object.metadata.name.startWith('a')",
        "the function `startWith` is not supported: did you mean `startsWith`?",
    );
}

#[test]
fn a_binding_that_reaches_too_far() {
    refuses_object(
        &format!("{BINDING}  pattern: https\n  match:\n    namespaceSelector: {{}}\n")
            .replace("  name: logs\n", "  name: logs\n  namespace: shop\n"),
        "PatternBinding logs",
        "9:5",
        "`spec.match.namespaceSelector`: only bindings of `outrigger-system` select namespaces; this one is for `shop` alone",
    );
}

#[test]
fn a_binding_whose_parameters_do_not_fit() {
    refuses_binding(
        "  pattern: https\n  params: {prot: 1}\n",
        "7:3",
        "`spec.params`: unknown parameter `prot`: did you mean `port`?",
    );
    refuses_binding(
        "  pattern: https\n  enforcement: Required\n  podMaySet: [prot]\n",
        "8:3",
        "`spec.podMaySet`: `prot` is not a parameter of `https`: did you mean `port`?",
    );
}

#[test]
fn a_binding_of_an_unknown_pattern_is_only_a_warning() {
    let text = format!("{BINDING}  pattern: htps\n");
    let run = among(&[("f.yaml", text.as_bytes())], &["lint", "f.yaml"]);
    assert_run(
        &run,
        0,
        "",
        "warning: f.yaml:6:3: PatternBinding logs: `spec.pattern`: there is no pattern `htps` here: did you mean `https`?\n1 object checked: 0 errors, 1 warning\n",
    );
}

/// A context is loaded as the server loads it: a bad pattern stops everything.
#[test]
fn inject_refuses_a_context_with_a_bad_pattern() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("logs.yaml");
    std::fs::write(&file, format!("{PATTERN}  rnak: 1\n")).expect("it is written");
    let file = file.to_str().expect("UTF-8");
    let run = outrigger(&["inject", "-f", "examples/shop.yaml", "--context", file]);
    assert_run(
        &run,
        1,
        "",
        &format!(
            "error: {file}:9:3: Pattern logs: `spec.rnak`: unknown field `rnak`: did you mean `rank`?\n"
        ),
    );
}
