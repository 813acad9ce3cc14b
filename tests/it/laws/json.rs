//! Generators of JSON: objects made of optional fields, with fields that nobody knows between them, and strings that hurt.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A generator of one JSON value.
pub(super) type Json = BoxedStrategy<Value>;
/// A generator of one field, or of its absence.
pub(super) type Field = BoxedStrategy<Option<(&'static str, Value)>>;

/// A field that is there.
pub(super) fn always(key: &'static str, json: impl Strategy<Value = Value> + 'static) -> Field {
    json.prop_map(move |value| Some((key, value))).boxed()
}

/// A field that is there with this probability.
pub(super) fn maybe(
    probability: f64,
    key: &'static str,
    json: impl Strategy<Value = Value> + 'static,
) -> Field {
    prop::option::weighted(probability, json)
        .prop_map(move |value| value.map(|value| (key, value)))
        .boxed()
}

/// A parent that may be there, absent, null or empty: a patch has to cope with each.
pub(super) fn parent(
    key: &'static str,
    empty: Value,
    json: impl Strategy<Value = Value> + 'static,
) -> Field {
    prop_oneof![
        5 => json.prop_map(Some),
        2 => Just(None),
        1 => Just(Some(Value::Null)),
        1 => Just(Some(empty)),
    ]
    .prop_map(move |value| value.map(|value| (key, value)))
    .boxed()
}

/// An object of exactly these fields.
pub(super) fn closed(fields: Vec<Field>) -> Json {
    fields
        .prop_map(|fields| {
            Value::Object(
                fields
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            )
        })
        .boxed()
}

/// An object of these fields and some that Kubernetes does not have (yet).
pub(super) fn open(fields: Vec<Field>) -> Json {
    (closed(fields), unknown())
        .prop_map(|(object, unknown)| {
            let mut fields = unknown;
            if let Value::Object(known) = object {
                fields.extend(known);
            }
            Value::Object(fields)
        })
        .boxed()
}

/// One of these.
pub(super) fn pick(values: Vec<Value>) -> Json {
    prop::sample::select(values).boxed()
}

/// Fields with invented names; mostly none, so that cases stay readable.
fn unknown() -> BoxedStrategy<Map<String, Value>> {
    let value = prop_oneof![
        text().prop_map(Value::String),
        any::<i64>().prop_map(|number| json!(number)),
        Just(json!([{"name": "http", "containerPort": 8080}, null, []])),
        Just(json!({"name": "app", "env": [{}], "deep": {"er": [[1.5e3]]}})),
    ];
    let name = prop::sample::select(vec!["xFuture", "x-new", "x~1/\"y", "xPorts"]);
    prop_oneof![
        4 => Just(Map::new()),
        1 => (name, value).prop_map(|(name, value)| [(name.to_owned(), value)].into_iter().collect()),
    ]
    .boxed()
}

/// Strings that break what is put together from text.
pub(super) fn text() -> BoxedStrategy<String> {
    let hostile = vec![
        "",
        "plain",
        "\"quoted\" and 'quoted'",
        "back\\slash \\n \\u0041",
        "line\nbreak\r\n\ttab\u{0}\u{1b}[31m\u{7f}",
        "{{ params.port }} {% if x %} {# y #}",
        "${HOME} $(HELPER_URL) $$",
        "~0~1/~/",
        "ünïcödé 🦀 \u{202e}rtl \u{2028} \u{feff}",
        "null",
        "- a: [1, 2",
        "]]}}",
    ];
    prop_oneof![
        3 => prop::sample::select(hostile).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
    .boxed()
}
