//! No parameter value can break out of its string.
//!
//! ```text
//!  harmless value ─▶ inject ─▶ Pod ─┐
//!                                   ├─▶ same keys, same lengths, same numbers; a leaf that differs holds the value itself
//!  hostile value ──▶ inject ─▶ Pod ─┘   (config files are parsed back and compared the same way)
//! ```
//!
//! Or the Pod is refused, with a sentence that names the annotation. Every string that a built-in's schema knows is tried, and
//! since those schemas are strict, a pattern of the test's own that writes free strings into everything a pattern has.

// clippy.toml allows these in tests; it does not see that every function here is one's.
#![allow(clippy::expect_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use outrigger::catalog::{BUILT_IN_SOURCES, Catalog, Namespace, Place};
use outrigger::inject::{Context, inject};
use outrigger::keys;
use outrigger::pattern::Pattern;
use outrigger::yaml;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Map, Value, json};

/// What ends a string, a line, a document or an expression in some language that a value passes through on its way.
const HOSTILE: &[&str] = &[
    "\"",
    "'",
    "`",
    "\\",
    "\\\"",
    "\\n",
    "\\u0022",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\0",
    "\u{1}",
    "\u{8}",
    "\u{b}",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{85}",
    "\u{9f}",
    "\u{a0}",
    "\u{200b}",
    "\u{202e}",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{1f600}",
    "\u{10ffff}",
    "é",
    "{{",
    "}}",
    "{{ params }}",
    "{% if true %}",
    "{%",
    "%}",
    "{#",
    "#}",
    "#",
    " #",
    ": ",
    "key: value",
    "\nkey: value\n",
    "\n- item",
    "- ",
    "? ",
    "|",
    ">",
    "|-\n  x",
    "---\n",
    "\n---\n",
    "\n...\n",
    "&a",
    "*a",
    "!!binary",
    "!!python/object:x",
    "%YAML 1.1",
    "@",
    ",",
    "[",
    "]",
    "{",
    "}",
    "\"]]}}",
    "\"}, admin: {",
    "']}",
    "<<",
    "~",
    "null",
    "true",
    "no",
    "0644",
    "1e3",
    "=",
    "${X}",
    "$(X)",
    "$$",
    "%REQ(x)%",
    "%ENVIRONMENT(PATH)%",
    "`id`",
    "; rm -rf /",
    "]]--",
    "--[[",
    "-- x",
    "../../etc/passwd",
    "/",
    "http://x/",
    " ",
    "  leading",
    "trailing  ",
    "",
];

/// A hostile string: pieces of the above, any characters between them.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(HOSTILE).prop_map(str::to_owned),
        2 => any::<char>().prop_map(String::from),
        1 => "[a-z0-9:./-]{1,9}",
        1 => (prop::sample::select(HOSTILE), 1..150_usize).prop_map(|(piece, times)| piece.repeat(times)),
    ];
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

/// How the annotation says it: as JSON, which leaves most characters as they are, or as YAML that escapes all but plain ASCII.
#[derive(Debug, Clone, Copy)]
enum Spelling {
    Json,
    Escaped,
}

fn spelling() -> impl Strategy<Value = Spelling> {
    prop_oneof![Just(Spelling::Json), Just(Spelling::Escaped)]
}

impl Spelling {
    const ALL: [Self; 2] = [Self::Json, Self::Escaped];

    fn write(self, value: &Value) -> String {
        match (self, value) {
            (Self::Json, _) => value.to_string(),
            (Self::Escaped, Value::String(text)) => quoted(text),
            (Self::Escaped, Value::Array(items)) => {
                let items: Vec<_> = items.iter().map(|item| self.write(item)).collect();
                format!("[{}]", items.join(", "))
            }
            (Self::Escaped, Value::Object(map)) => {
                let entries: Vec<_> = map
                    .iter()
                    .map(|(key, entry)| format!("? {}\n: {}", quoted(key), self.write(entry)))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
            (Self::Escaped, scalar) => scalar.to_string(),
        }
    }
}

/// A double-quoted YAML scalar (YAML 1.2 §5.7).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ => {
                let _ = write!(out, "\\U{:08x}", u32::from(character));
            }
        }
    }
    out.push('"');
    out
}

/// The Pod with one annotation, injected; or the sentences that refuse it.
fn injected(catalog: &Catalog, key: &str, text: &str) -> Result<Value, Vec<String>> {
    let mut pod = json!({
        "metadata": {"name": "shop", "annotations": {key: text}},
        "spec": {
            "containers": [{"name": "app", "image": "shop:1", "ports": [{"containerPort": 8080}]}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    });
    let namespace = Namespace {
        name: "shop".to_owned(),
        ..Namespace::default()
    };
    let context = Context {
        namespace: &namespace,
        catalog,
    };
    let outcome = inject(pod.to_string().as_bytes(), &context).expect("a Pod");
    let sentences: Vec<_> = outcome
        .denials()
        .map(|denial| denial.sentence.clone())
        .collect();
    if !sentences.is_empty() {
        return Err(sentences);
    }
    let patch = serde_json::to_value(&outcome.patch).expect("a patch");
    let patch: json_patch::Patch = serde_json::from_value(patch).expect("RFC 6902");
    json_patch::patch(&mut pod, &patch).expect("the patch applies");
    Ok(pod)
}

/// A leaf that differs, with both texts.
#[derive(Debug)]
struct Difference {
    path: String,
    harmless: String,
    hostile: String,
}

/// Compares shapes: keys and their order, lengths, kinds. Leaves that differ are collected.
fn compare(
    path: &str,
    harmless: &Value,
    hostile: &Value,
    found: &mut Vec<Difference>,
) -> Result<(), String> {
    match (harmless, hostile) {
        (Value::Object(left), Value::Object(right)) => {
            if !left.keys().eq(right.keys()) {
                let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
                return Err(format!(
                    "{path}: keys {:?} became {:?}",
                    keys(left),
                    keys(right)
                ));
            }
            left.iter().try_for_each(|(key, value)| {
                compare(&format!("{path}.{key}"), value, &right[key], found)
            })
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                return Err(format!(
                    "{path}: {} items became {}",
                    left.len(),
                    right.len()
                ));
            }
            left.iter()
                .zip(right)
                .enumerate()
                .try_for_each(|(index, (left, right))| {
                    compare(&format!("{path}[{index}]"), left, right, found)
                })
        }
        (Value::String(left), Value::String(right)) => {
            if left != right {
                found.push(Difference {
                    path: path.to_owned(),
                    harmless: left.clone(),
                    hostile: right.clone(),
                });
            }
            Ok(())
        }
        // Part of a value may be a number where it arrives: the port of `host:port`.
        (Value::Number(left), Value::Number(right)) => {
            if left != right {
                found.push(Difference {
                    path: path.to_owned(),
                    harmless: left.to_string(),
                    hostile: right.to_string(),
                });
            }
            Ok(())
        }
        _ if harmless == hostile => Ok(()),
        _ => Err(format!("{path}: {harmless} became {hostile}")),
    }
}

/// A Pod as it is compared: files and status parsed, the annotation that asks left out. `known` are files parsed before.
fn opened(pod: &Value, asks: &str, known: &BTreeMap<String, Value>) -> Result<Value, String> {
    let mut pod = pod.clone();
    let Some(Value::Object(annotations)) = pod.pointer_mut("/metadata/annotations") else {
        return Err("no annotations".to_owned());
    };
    annotations.shift_remove(asks);
    for (key, value) in annotations.iter_mut() {
        let text = value
            .as_str()
            .ok_or_else(|| format!("{key} is no string"))?;
        if key.starts_with(&format!("{}/", keys::FILES_PREFIX)) || key == keys::STATUS {
            *value = match known.get(text) {
                Some(parsed) => parsed.clone(),
                None => yaml::read(text)
                    .map_err(|error| format!("{key} does not parse: {error}: {text}"))?,
            };
        }
    }
    Ok(pod)
}

/// What became of hostile values.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    accepted: usize,
    refused: usize,
    /// Leaves of config files that came to hold the value, or a part of it.
    leaves_in_files: usize,
    /// Leaves of the rest of the Pod.
    leaves_in_pod: usize,
}

/// A leaf may hold the value, as it is or within JSON, or a piece of it, or something made of it that means nothing in any
/// format: `5m` as `300s`.
fn tame(leaf: &str, value: &str) -> bool {
    let inert = |character: char| character.is_ascii_alphanumeric() || ".:-_[]".contains(character);
    let json = || serde_json::from_str(leaf).is_ok_and(|json: Value| holds(&json, value));
    leaf.contains(value) || value.contains(leaf) || leaf.chars().all(inert) || json()
}

fn holds(json: &Value, text: &str) -> bool {
    match json {
        Value::String(own) => own == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(map) => map.values().any(|item| holds(item, text)),
        _ => false,
    }
}

/// A sentence for people: it names the annotation and stays on its line.
fn well_said(sentence: &str, key: &str) -> Result<(), String> {
    if !sentence.contains(&format!("`{key}`")) {
        return Err(format!("does not name the annotation: {sentence:?}"));
    }
    if sentence.chars().any(char::is_control) {
        return Err(format!("control characters in {sentence:?}"));
    }
    Ok(())
}

/// Judges one value at one place of one pattern's parameters.
fn judge(
    target: &Target,
    value: &str,
    spelling: Spelling,
    count: &mut Count,
) -> Result<(), String> {
    let params = target.params(&json!(value));
    let pod = match injected(&target.catalog, &target.key, &spelling.write(&params)) {
        Ok(pod) => pod,
        Err(sentences) => {
            count.refused += 1;
            return sentences
                .iter()
                .try_for_each(|sentence| well_said(sentence, &target.key));
        }
    };
    count.accepted += 1;
    let mut differences = Vec::new();
    let opened = opened(&pod, &target.key, &target.known)?;
    compare("", &target.harmless, &opened, &mut differences)?;
    for Difference {
        path,
        harmless,
        hostile,
    } in differences
    {
        // Hashes of what was given, and nothing else of it.
        if path.starts_with(&format!(".metadata.annotations.{}.", keys::STATUS)) {
            if !hostile
                .chars()
                .all(|character| character.is_ascii_hexdigit())
            {
                return Err(format!("{path}: {harmless:?} became {hostile:?}"));
            }
            continue;
        }
        if !tame(&hostile, value) {
            return Err(format!(
                "{path}: {harmless:?} became {hostile:?}, of {value:?}"
            ));
        }
        if path.contains(keys::FILES_PREFIX) {
            count.leaves_in_files += 1;
        } else {
            count.leaves_in_pod += 1;
        }
    }
    Ok(())
}

/// A step on the way to a string among parameters.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Item,
}

/// One string that a pattern takes, and what a Pod looks like that has a harmless value there.
struct Target {
    catalog: Catalog,
    key: String,
    schema: Value,
    path: Vec<Step>,
    /// The string's own schema.
    leaf: Value,
    harmless_value: String,
    harmless: Value,
    /// The harmless Pod's files, parsed: most values leave most files as they are.
    known: BTreeMap<String, Value>,
}

impl Target {
    fn name(&self) -> String {
        let path: Vec<_> = self
            .path
            .iter()
            .map(|step| match step {
                Step::Key(key) => format!(".{key}"),
                Step::Item => "[1]".to_owned(),
            })
            .collect();
        format!("{}{}", self.key, path.concat())
    }

    /// The least parameters that have `value` in their place; a list has harmless neighbours.
    fn params(&self, value: &Value) -> Value {
        place(&self.schema, None, &self.path, value)
    }
}

/// A value that the schema takes: its default, example or first choice. `example` is the parent's for this place.
fn sample(schema: &Value, example: Option<&Value>) -> Value {
    let own = schema
        .get("default")
        .or_else(|| schema.get("examples")?.get(0))
        .or_else(|| schema.get("enum")?.get(0))
        .or(example);
    match (own, schema.get("type").and_then(Value::as_str)) {
        (Some(value), _) => value.clone(),
        (None, Some("object")) => schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|name| (name.to_owned(), sample(&schema["properties"][name], None)))
            .collect(),
        (None, Some("array")) => json!([]),
        (None, _) => json!("x"),
    }
}

fn place(schema: &Value, example: Option<&Value>, path: &[Step], value: &Value) -> Value {
    let Some((step, rest)) = path.split_first() else {
        return value.clone();
    };
    let example = sample(schema, example);
    match step {
        Step::Key(key) => {
            let inner = below(schema, key).expect("a property");
            let mut object = if example.is_object() {
                example
            } else {
                json!({})
            };
            object[key.as_str()] = place(inner, object.get(key), rest, value);
            object
        }
        Step::Item => {
            let neighbour = sample(&schema["items"], example.get(0));
            let item = place(&schema["items"], Some(&neighbour), rest, value);
            json!([neighbour, item, neighbour])
        }
    }
}

fn below<'s>(schema: &'s Value, key: &str) -> Option<&'s Value> {
    schema["properties"]
        .get(key)
        .or_else(|| schema.get("additionalProperties"))
}

/// Every place in a schema that takes a string.
fn strings(schema: &Value, path: &[Step], found: &mut Vec<(Vec<Step>, Value)>) {
    for keyword in ["allOf", "anyOf", "oneOf", "not"] {
        assert!(
            schema.get(keyword).is_none(),
            "this test does not know `{keyword}`: teach it"
        );
    }
    let is = |kind: &str| match &schema["type"] {
        Value::String(own) => own == kind,
        Value::Array(kinds) => kinds.contains(&json!(kind)),
        _ => false,
    };
    let with = |step: Step| [path, &[step]].concat();
    if is("string") {
        found.push((path.to_vec(), schema.clone()));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        strings(property, &with(Step::Key(name.clone())), found);
    }
    if let Some(others) = schema
        .get("additionalProperties")
        .filter(|others| others.is_object())
    {
        strings(others, &with(Step::Key("other".to_owned())), found);
    }
    if is("array") {
        strings(&schema["items"], &with(Step::Item), found);
    }
}

/// Every string of a pattern. That its harmless value is accepted is part of the test.
fn targets(name: &str, catalog: fn() -> Catalog) -> Vec<Target> {
    let pattern = catalog().find(name, "shop").expect(name).clone();
    let key = format!("{}.{}/{name}", pattern.spec.role, keys::GROUP);
    let schema = pattern.schema.source().clone();
    let mut found = Vec::new();
    strings(&schema, &[], &mut found);
    found
        .into_iter()
        .map(|(path, leaf)| {
            let mut target = Target {
                catalog: catalog(),
                key: key.clone(),
                schema: schema.clone(),
                path,
                leaf,
                harmless_value: String::new(),
                harmless: Value::Null,
                known: BTreeMap::new(),
            };
            target.harmless_value = harmless(&target);
            let params = target.params(&json!(target.harmless_value)).to_string();
            let pod = injected(&target.catalog, &target.key, &params)
                .unwrap_or_else(|sentences| panic!("{}: {sentences:?}", target.name()));
            target.harmless = opened(&pod, &target.key, &target.known).expect("files that parse");
            let texts = pod["metadata"]["annotations"]
                .as_object()
                .expect("annotations");
            let parsed = |(key, text): (&String, &Value)| {
                let parsed = target.harmless["metadata"]["annotations"].get(key)?;
                Some((text.as_str()?.to_owned(), parsed.clone()))
            };
            target.known = texts.iter().filter_map(parsed).collect();
            target
        })
        .collect()
}

/// What the schema offers at the target's place.
fn harmless(target: &Target) -> String {
    let marker = json!("marker");
    let (parents, last) = target.path.split_at(target.path.len() - 1);
    let mut schema = &target.schema;
    let mut example = sample(schema, None);
    for step in parents {
        (schema, example) = match step {
            Step::Key(key) => {
                let inner = below(schema, key).expect("a property");
                (inner, sample(inner, example.get(key)))
            }
            Step::Item => (&schema["items"], sample(&schema["items"], example.get(0))),
        };
    }
    let example = match &last[0] {
        Step::Key(key) => example.get(key),
        Step::Item => example.get(0),
    };
    let value = sample(&target.leaf, example);
    value
        .as_str()
        .or(marker.as_str())
        .expect("a string")
        .to_owned()
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

fn built_ins() -> Vec<Target> {
    BUILT_IN_SOURCES
        .iter()
        .flat_map(|(name, _)| targets(name, Catalog::default))
        .collect()
}

/// Tries the values of `strategy` at a target and returns what became of them.
fn try_all(target: &Target, cases: u32, strategy: impl Strategy<Value = String>) -> Count {
    let count = RefCell::new(Count::default());
    let result = runner(cases).run(&(strategy, spelling()), |(value, spelling)| {
        judge(target, &value, spelling, &mut count.borrow_mut()).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("{}: {error}", target.name());
    }
    count.into_inner()
}

/// Each hostile piece by itself, at each string of each built-in.
#[test]
fn no_piece_breaks_out_of_a_built_in() {
    let targets = built_ins();
    let mut counts = BTreeMap::new();
    for target in &targets {
        let mut count = Count::default();
        for piece in HOSTILE {
            // Also after what the schema likes: for some `$` means "before the last line break".
            let after = format!("{}{piece}", target.harmless_value);
            let tries = [
                (*piece, Spelling::Json),
                (*piece, Spelling::Escaped),
                (after.as_str(), Spelling::Escaped),
            ];
            for (value, spelling) in tries {
                judge(target, value, spelling, &mut count)
                    .unwrap_or_else(|problem| panic!("{}: {value:?}: {problem}", target.name()));
            }
        }
        assert_eq!(count.accepted + count.refused, HOSTILE.len() * 3);
        counts.insert(target.name(), count);
    }
    println!("{counts:#?}");
    // The strict ones let nothing through but what is harmless by itself; the lax ones nearly everything.
    let accepted = |key: &str| counts[key].accepted;
    assert!(accepted("adapter.outrigger.dev/redis-metrics.user") > HOSTILE.len() * 2);
    assert!(accepted("adapter.outrigger.dev/redis-metrics.address") >= HOSTILE.len());
    assert!(
        counts.values().all(|count| count.refused > 0),
        "{counts:#?}"
    );
    let leaves: usize = counts.values().map(|count| count.leaves_in_pod).sum();
    assert!(leaves > HOSTILE.len() * 3, "{leaves}");
}

/// Pieces put together, at each string of each built-in.
#[test]
fn no_value_breaks_out_of_a_built_in() {
    for target in &built_ins() {
        let harmless = target.harmless_value.clone();
        let spliced = (hostile(), any::<prop::sample::Index>()).prop_map(move |(value, at)| {
            let mut ends: Vec<_> = harmless.char_indices().map(|(index, _)| index).collect();
            ends.push(harmless.len());
            let (before, after) = harmless.split_at(*at.get(&ends));
            format!("{before}{value}{after}")
        });
        // A few at each string: every new built-in brings more of them.
        let (free, spliced) = (try_all(target, 12, hostile()), try_all(target, 12, spliced));
        assert_eq!(free.accepted + free.refused, 12, "{}", target.name());
        assert_eq!(spliced.accepted + spliced.refused, 12, "{}", target.name());
    }
}

/// What a parameter's own pattern takes is used: this is how values of built-ins get into files at all.
#[test]
fn what_a_built_in_takes_stays_in_its_string() {
    let mut with_pattern = 0;
    let mut leaves_in_files = 0;
    for target in &built_ins() {
        let Some(pattern) = target.leaf.get("pattern").and_then(Value::as_str) else {
            continue;
        };
        // Not the 32 repetitions that the generator takes `+` for: hardly a duration of 32 digits is one.
        let expression = pattern
            .trim_start_matches('^')
            .trim_end_matches('$')
            .replace(['+', '*'], "{1,3}");
        let conforming = proptest::string::string_regex(&expression).expect(pattern);
        let count = try_all(target, 32, conforming);
        assert!(count.accepted > 0, "{}: {count:?}", target.name());
        with_pattern += 1;
        leaves_in_files += count.leaves_in_files;
    }
    assert!(with_pattern >= 10, "{with_pattern}");
    assert!(leaves_in_files > 100, "{leaves_in_files}");
}

/// A pattern that writes free strings wherever a pattern can.
const FREE: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Pattern
metadata: {name: free}
spec:
  role: adapter
  params:
    type: object
    properties:
      text: {type: string, default: x}
      list: {type: array, items: {type: string}, default: [x, x]}
      map: {type: object, additionalProperties: {type: string}, default: {x: x}}
      deep: {type: object, default: {}, properties: {list: {type: array, items: {type: object, properties: {text: {type: string}}}, default: [{text: x}]}}}
  containers:
    - image: free:1
      args: ["{{ params.text }}", "--text={{ params.text }}", "{{ params.text }}{{ params.text }}", "--list", "{{ params.list | join(',') }}"]
      env:
        - {name: TEXT, value: "{{ params.text }}"}
        - {name: JSON, value: "{{ params.map | json }}"}
        - "{{ {'name': 'ENTRY', 'value': params.text} }}"
      workingDir: "/{{ params.text }}"
  app:
    env: [{name: FREE, value: "<{{ params.text }}>"}]
  podMetadata:
    annotations: {example.com/text: "{{ params.text }}"}
  files:
    conf.yaml: |
      # {{ params.text | json }} {{ params.map | json }}
      text: {{ params.text | json }}
      flow: {a: {{ params.text | json }}, b: [{{ params.text | json }}, 1], c: 2}   # {{ params.text | json }}
      list: {{ params.list | json }}
      map: {{ params.map | json }}
      deep: {{ params.deep | json }}
      items:
      {% for item in params.list %}
      - name: {{ item | json }}
        last: true
      {% endfor %}
      - {{ params.text | json }}
      {% if params.list %}
      some: true
      {% endif %}
      joined: {{ (params.list | join(",")) | json }}
      end: true
    conf.json: |
      {
        "text": {{ params.text | json }},
        "list": [{{ params.text | json }}, {{ params.text | json }}],
        "map": {{ params.map | json }},
        "deep": {"deeper": {{ params.deep | json }}},
        "end": true
      }
"#;

fn free() -> Catalog {
    let object = yaml::read(FREE).expect("YAML");
    let pattern = Pattern::load(&object, Place::Namespace("shop".to_owned()))
        .unwrap_or_else(|faults| panic!("{faults:?}"));
    let mut catalog = Catalog::default();
    catalog.add_pattern(pattern);
    catalog
}

const FREE_KEY: &str = "adapter.outrigger.dev/free";

/// Free strings, one in each place: what the files and the container hold is known exactly.
fn exact(catalog: &Catalog, text: &str, key: &str, spelling: Spelling) -> Result<(), String> {
    let list = json!([text, "x", text]);
    let map = json!({key: text, "x": "x"});
    let deep = json!({"list": [{"text": text}, {}]});
    let params = json!({"text": text, "list": list, "map": map, "deep": deep});
    let pod = injected(catalog, FREE_KEY, &spelling.write(&params))
        .map_err(|sentences| format!("refused: {sentences:?}"))?;
    let joined = format!("{text},x,{text}");
    let item = |name: &str| json!({"name": name, "last": true});
    let files = [
        (
            "conf.yaml",
            json!({
                "text": text, "flow": {"a": text, "b": [text, 1], "c": 2}, "list": list, "map": map, "deep": deep,
                "items": [item(text), item("x"), item(text), text], "some": true, "joined": joined, "end": true,
            }),
        ),
        (
            "conf.json",
            json!({"text": text, "list": [text, text], "map": map, "deep": {"deeper": deep}, "end": true}),
        ),
    ];
    let annotations = &pod["metadata"]["annotations"];
    for (file, expected) in files {
        let rendered = annotations[format!("{}/free.{file}", keys::FILES_PREFIX)]
            .as_str()
            .expect("a file");
        let read = yaml::read(rendered)
            .map_err(|error| format!("{file} does not parse: {error}: {rendered}"))?;
        if read != expected {
            return Err(format!("{file} reads as {read}, not {expected}"));
        }
        if file == "conf.json" {
            let read: Value = serde_json::from_str(rendered)
                .map_err(|error| format!("{file}: {error}: {rendered}"))?;
            if read != expected {
                return Err(format!("{file} reads as {read}, not {expected}"));
            }
        }
        // What YAML 1.1 and JavaScript take for the end of a line, this parser does not: other consumers may.
        let breaks = |character: char| {
            character.is_control() && character != '\n'
                || "\u{2028}\u{2029}\u{feff}".contains(character)
        };
        if rendered.chars().any(breaks) {
            return Err(format!("{file} holds control characters: {rendered:?}"));
        }
    }
    let container = &pod["spec"]["initContainers"][0];
    let seen = json!([
        container["args"],
        container["env"][0],
        container["env"][2],
        container["env"].as_array().map(Vec::len),
        container["workingDir"],
        pod["spec"]["containers"][0]["env"],
        annotations["example.com/text"],
    ]);
    let expected = json!([
        [text, format!("--text={text}"), format!("{text}{text}"), "--list", joined],
        {"name": "TEXT", "value": text}, {"name": "ENTRY", "value": text}, 3,
        format!("/{text}"), [{"name": "FREE", "value": format!("<{text}>")}], text,
    ]);
    if seen != expected {
        return Err(format!("the Pod holds {seen}, not {expected}"));
    }
    let json = container["env"][1]["value"].as_str().expect("a string");
    match serde_json::from_str::<Value>(json) {
        Ok(read) if read == map => Ok(()),
        other => Err(format!("the variable holds {json:?}, read as {other:?}")),
    }
}

/// A key that the test's map does not have anyway. YAML's implicit keys end after 1024 characters (§7.4.2): a file with a longer
/// one does not parse, so nothing breaks out, but nothing can be compared either.
fn map_key(text: &str) -> String {
    format!("k{}", text.chars().take(100).collect::<String>())
}

#[test]
fn no_piece_breaks_out_of_a_free_pattern() {
    let catalog = free();
    for piece in HOSTILE {
        exact(&catalog, piece, &map_key(piece), Spelling::Escaped)
            .unwrap_or_else(|problem| panic!("{piece:?}: {problem}"));
    }
    let long = HOSTILE.concat().repeat(3);
    exact(&catalog, &long, "k", Spelling::Escaped).unwrap_or_else(|problem| panic!("{problem}"));
}

#[test]
fn no_value_breaks_out_of_a_free_pattern() {
    let catalog = free();
    let accepted = RefCell::new(0);
    runner(256)
        .run(&(hostile(), hostile()), |(text, key)| {
            exact(&catalog, &text, &map_key(&key), Spelling::Escaped)
                .map_err(TestCaseError::fail)?;
            *accepted.borrow_mut() += 1;
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(accepted.into_inner(), 256);
}

/// The same by shape, at each string of the pattern by itself, in both spellings: JSON that YAML does not take is refused.
#[test]
fn no_value_changes_the_shape_of_a_free_pattern() {
    let targets = targets("free", free);
    let names: Vec<_> = targets.iter().map(Target::name).collect();
    assert_eq!(
        names,
        [".text", ".list[1]", ".map.other", ".deep.list[1].text"]
            .map(|path| format!("{FREE_KEY}{path}"))
    );
    for target in &targets {
        let count = try_all(
            target,
            64,
            hostile().prop_filter("differs", |value| value != "x"),
        );
        println!("{}: {count:?}", target.name());
        assert!(count.accepted > 24, "{}: {count:?}", target.name());
        assert!(
            count.leaves_in_files >= count.accepted,
            "{}: {count:?}",
            target.name()
        );
    }
}

/// Were the comparison blind, all of the above would pass for nothing: files written without an encoder.
#[test]
fn a_break_out_would_be_seen() {
    let pod = |value: &str| {
        let file = format!("a: \"{value}\"\nb: [{value}]\nend: true\n");
        json!({"metadata": {"annotations": {"files.outrigger.dev/free.conf.yaml": file}}})
    };
    let open = |value: &str| opened(&pod(value), FREE_KEY, &BTreeMap::new());
    let harmless = open("x").expect("YAML");
    let seen = |value: &str| {
        let mut found = Vec::new();
        open(value)
            .and_then(|hostile| compare("", &harmless, &hostile, &mut found))
            .is_err()
            || found.iter().any(|leaf| !tame(&leaf.hostile, value))
            || found.is_empty()
    };
    for value in [
        "x\"\nadmin: \"y",
        "x, y",
        "x: y",
        "\"",
        "x #",
        "[]",
        "true",
        "7",
        "x]\nc: [y",
        "*a",
    ] {
        assert!(seen(value), "{value:?}");
    }
    assert!(!seen("z"));
}

/// The two keys that belong to every pattern take strings too.
#[test]
fn into_and_override_are_no_way_out() {
    let catalog = Catalog::default();
    let key = "adapter.outrigger.dev/redis-metrics";
    for (piece, spelling) in HOSTILE
        .iter()
        .flat_map(|piece| Spelling::ALL.map(|spelling| (piece, spelling)))
    {
        for params in [
            json!({"into": piece}),
            json!({"into": [piece]}),
            json!({"override": piece}),
            json!({"override": {*piece: 1}}),
        ] {
            match injected(&catalog, key, &spelling.write(&params)) {
                Ok(_) => panic!("{params} is accepted"),
                Err(sentences) => sentences
                    .iter()
                    .try_for_each(|sentence| well_said(sentence, key))
                    .unwrap_or_else(|problem| panic!("{params}: {problem}")),
            }
        }
        let params = json!({"override": {"env": [{"name": "EXTRA", "value": piece}]}});
        if let Ok(pod) = injected(&catalog, key, &Spelling::Escaped.write(&params)) {
            let env = pod["spec"]["initContainers"][0]["env"]
                .as_array()
                .expect("a list");
            assert_eq!(env.last(), Some(&json!({"name": "EXTRA", "value": piece})));
            assert_eq!(env.len(), 3);
        } else {
            panic!("{params} is refused");
        }
    }
}
