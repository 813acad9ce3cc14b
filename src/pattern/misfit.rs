//! Misfits: sentences for parameters that do not satisfy their schema.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use crate::text::{counted, excerpt, or_list, plain, suggestion};

/// The sentence for one validation error of a parameter.
pub(super) fn sentence(schema: &Value, error: &ValidationError<'_>) -> String {
    let path = dotted(error.instance_path().as_str());
    let expected = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            return unknown(schema, &path, unexpected);
        }
        ValidationErrorKind::Required { property } => {
            return missing(schema, &path, property.as_str().unwrap_or_default());
        }
        ValidationErrorKind::Type { kind } if !path.is_empty() => {
            let value = error.instance();
            let wanted = types(kind);
            let scalar = matches!(**value, Value::Number(_) | Value::Bool(_));
            let hint = if scalar && wanted == "a string" {
                ": put it in quotes"
            } else {
                ""
            };
            return format!(
                "parameter `{path}` is the {} `{}`, expected {wanted}{hint}",
                kind_of(value),
                excerpt(&plain(value), 60)
            );
        }
        ValidationErrorKind::Type { kind } => format!("expected {}", types(kind)),
        ValidationErrorKind::Enum { options } => format!(
            "expected {}",
            or_list(options.as_array().into_iter().flatten().map(plain))
        ),
        ValidationErrorKind::Minimum { limit } => format!("expected at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("expected at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => {
            format!("expected more than {limit}")
        }
        ValidationErrorKind::ExclusiveMaximum { limit } => {
            format!("expected less than {limit}")
        }
        ValidationErrorKind::MinItems { limit } => {
            format!(
                "expected at least {}",
                counted(usize::try_from(*limit).unwrap_or(usize::MAX), "item")
            )
        }
        ValidationErrorKind::MaxItems { limit } => {
            format!(
                "expected at most {}",
                counted(usize::try_from(*limit).unwrap_or(usize::MAX), "item")
            )
        }
        ValidationErrorKind::MinLength { limit } => {
            format!(
                "expected at least {}",
                counted(usize::try_from(*limit).unwrap_or(usize::MAX), "character")
            )
        }
        ValidationErrorKind::MaxLength { limit } => {
            format!(
                "expected at most {}",
                counted(usize::try_from(*limit).unwrap_or(usize::MAX), "character")
            )
        }
        ValidationErrorKind::MinProperties { limit } => {
            format!("expected at least {limit} entries")
        }
        ValidationErrorKind::MaxProperties { limit } => {
            format!("expected at most {limit} entries")
        }
        ValidationErrorKind::Pattern { pattern } => format!(
            "expected {}",
            described(schema, &path, &format!("a match of `{pattern}`"))
        ),
        ValidationErrorKind::Format { format } => format!("expected the format `{format}`"),
        ValidationErrorKind::UniqueItems => "expected items that differ".to_owned(),
        ValidationErrorKind::Constant { expected_value } => {
            format!("expected `{}`", plain(expected_value))
        }
        ValidationErrorKind::FalseSchema => "expected nothing".to_owned(),
        other => format!("it does not satisfy `{}` of the schema", other.keyword()),
    };
    let value = excerpt(&plain(error.instance()), 60);
    if path.is_empty() {
        format!("the parameters are `{value}`, {expected}")
    } else {
        format!("parameter `{path}` is `{value}`, {expected}")
    }
}

/// A value's type; without it a number in quotes looks like the number that is expected.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "mapping",
    }
}

fn unknown(schema: &Value, path: &str, unexpected: &[String]) -> String {
    let word = unexpected.first().map(String::as_str).unwrap_or_default();
    let known = at(schema, path)
        .and_then(|schema| schema.get("properties"))
        .and_then(Value::as_object);
    let names = || {
        known
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .chain(
                path.is_empty()
                    .then_some(["into", "override"])
                    .into_iter()
                    .flatten(),
            )
    };
    let full = if path.is_empty() {
        word.to_owned()
    } else {
        format!("{path}.{word}")
    };
    match crate::text::did_you_mean(word, names()) {
        Some(_) => format!(
            "unknown parameter `{}`{}",
            excerpt(&full, 60),
            suggestion(word, names())
        ),
        None => format!(
            "unknown parameter `{}`, expected {}",
            excerpt(&full, 60),
            or_list(names())
        ),
    }
}

fn missing(schema: &Value, path: &str, name: &str) -> String {
    let full = if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    };
    match at(schema, &full)
        .and_then(|schema| schema.get("description"))
        .and_then(Value::as_str)
    {
        Some(description) => format!("parameter `{full}` is missing: {}", lower(description)),
        None => format!("parameter `{full}` is missing"),
    }
}

/// The description of the parameter at `path`, else `otherwise`.
fn described(schema: &Value, path: &str, otherwise: &str) -> String {
    match at(schema, path)
        .and_then(|schema| schema.get("description"))
        .and_then(Value::as_str)
    {
        Some(description) => format!("{otherwise} ({})", lower(description)),
        None => otherwise.to_owned(),
    }
}

/// The schema of the parameter at a dotted path.
fn at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let mut schema = schema;
    for step in crate::yaml::steps(path) {
        schema = match step {
            crate::yaml::Step::Key(key) => schema.get("properties")?.get(key)?,
            crate::yaml::Step::Index(_) => schema.get("items")?,
        };
    }
    Some(schema)
}

/// `/shards/0/host` as `shards[0].host`.
pub(super) fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push_str(&format!("[{part}]"));
        } else {
            let dot = if path.is_empty() { "" } else { "." };
            path.push_str(&format!(
                "{dot}{}",
                part.replace("~1", "/").replace("~0", "~")
            ));
        }
    }
    path
}

fn types(kind: &TypeKind) -> String {
    let name = |kind: &str| {
        match kind {
            "array" => "a list",
            "boolean" => "`true` or `false`",
            "integer" => "an integer",
            "null" => "null",
            "number" => "a number",
            "object" => "a mapping",
            "string" => "a string",
            _ => "another type",
        }
        .to_owned()
    };
    match kind {
        TypeKind::Single(kind) => name(kind.as_str()),
        TypeKind::Multiple(kinds) => kinds
            .iter()
            .map(|kind| name(kind.as_str()))
            .collect::<Vec<_>>()
            .join(" or "),
    }
}

/// A description as the tail of a sentence.
fn lower(description: &str) -> String {
    let description = description
        .split(". ")
        .next()
        .unwrap_or_default()
        .trim_end_matches('.');
    let mut characters = description.chars();
    match (characters.next(), characters.as_str()) {
        (Some(first), rest) if rest.starts_with(char::is_lowercase) || rest.starts_with(' ') => {
            first.to_lowercase().collect::<String>() + rest
        }
        _ => description.to_owned(),
    }
}
