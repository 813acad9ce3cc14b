//! The filters and tests of the template language. `docs/write-a-pattern.md` lists them; each is a pure function of its input.
//!
//! | filter | takes | gives |
//! | --- | --- | --- |
//! | `json` | anything | its JSON text, which is also a YAML flow value; the only way for a string into a file |
//! | `seconds` | `1m30s`, `500ms`, a number | seconds, as a number |
//! | `bytes` | `64Mi`, `1G`, a number | bytes, as an integer |
//! | `host` | `redis:6379`, `[::1]:6379` | `redis`, `::1` |
//! | `port` | `redis:6379`; `port(6379)` gives a default | `6379`, an integer |
//! | `length` | string, list, mapping | how many characters, items, entries |
//! | `join` | list of scalars; `join(",")` | one string |
//! | `string` | a scalar | a string |
//!
//! Tests: `is defined`, `is none`, `is string`.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::bounds::{MAX_VALUE, TOO_LARGE, is_small};
use crate::kubernetes::quantity::{Quantity, duration};

/// Adds every filter and test to `environment`, which starts empty.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("json", json);
    environment.add_filter("seconds", |value: &Value| seconds(value));
    environment.add_filter("bytes", |value: &Value| bytes(value));
    environment.add_filter("host", |address: &str| {
        split(address).map(|(host, _)| host.to_owned())
    });
    environment.add_filter("port", port);
    environment.add_filter("length", |value: &Value| {
        value
            .len()
            .ok_or_else(|| wrong("length", "a string, a list or a mapping", value))
    });
    environment.add_filter("join", join);
    environment.add_filter("string", |value: &Value| {
        scalar(value).ok_or_else(|| wrong("string", "a scalar", value))
    });
    environment.add_test("defined", |value: &Value| !value.is_undefined());
    environment.add_test("none", |value: &Value| value.is_none());
    environment.add_test("string", |value: &Value| value.kind() == ValueKind::String);
}

/// The names that [`add`] adds, for suggestions.
pub(super) const NAMES: &[&str] = &[
    "json", "seconds", "bytes", "host", "port", "length", "join", "string",
];

fn wrong(filter: &str, expected: &str, value: &Value) -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        if is_small(value) {
            let value = crate::text::excerpt(&value.to_string(), 60);
            format!("`{filter}` takes {expected}, not `{value}`")
        } else {
            format!("`{filter}` takes {expected}, not a {}", value.kind())
        },
    )
}

/// The text of a string, number or boolean.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::String => value.as_str().map(str::to_owned),
        ValueKind::Number => Some(value.to_string()),
        // The engine prints booleans as Python does.
        ValueKind::Bool => Some(value.is_true().to_string()),
        _ => None,
    }
}

/// JSON that is also YAML: besides what JSON demands, the characters that YAML 1.2 calls not printable or a line break are
/// escaped (§5.1, §5.4), so that no string can end its line.
fn json(value: &Value) -> Result<Value, Error> {
    if !is_small(value) {
        return Err(Error::new(ErrorKind::InvalidOperation, TOO_LARGE));
    }
    let text = serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let hostile = |character: char| {
        matches!(
            character,
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
    };
    if !text.contains(hostile) {
        return Ok(Value::from_safe_string(text));
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if hostile(character) {
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            safe.push(character);
        }
    }
    Ok(Value::from_safe_string(safe))
}

fn seconds(value: &Value) -> Result<Value, Error> {
    if value.is_number() {
        return Ok(value.clone());
    }
    let length = value
        .as_str()
        .and_then(duration)
        .ok_or_else(|| wrong("seconds", "a duration such as `1m30s`", value))?;
    Ok(if length.subsec_nanos() == 0 {
        Value::from(length.as_secs())
    } else {
        Value::from(length.as_secs_f64())
    })
}

fn bytes(value: &Value) -> Result<u64, Error> {
    let text = scalar(value).unwrap_or_default();
    let amount: Option<Quantity> = text.parse().ok();
    amount
        .and_then(Quantity::whole)
        .ok_or_else(|| wrong("bytes", "a quantity such as `64Mi`", value))
}

fn port(address: &str, default: Option<u16>) -> Result<u16, Error> {
    let (_, port) = split(address)?;
    port.or(default).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("`{address}` has no port: write `host:port`"),
        )
    })
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split(address: &str) -> Result<(&str, Option<u16>), Error> {
    let bad = || {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("`{address}` is not `host:port`"),
        )
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            (
                host,
                rest.strip_prefix(':').or((!rest.is_empty()).then_some("?")),
            )
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = match port {
        None => None,
        Some(digits) => Some(
            digits
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(bad)?,
        ),
    };
    let plain = |character: char| character.is_ascii_alphanumeric() || "-._:".contains(character);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(bad());
    }
    Ok((host, port))
}

fn join(items: &Value, separator: Option<&str>) -> Result<String, Error> {
    let separator = separator.unwrap_or_default();
    let mut text = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        text.push_str(&scalar(&item).ok_or_else(|| wrong("join", "a list of scalars", &item))?);
        if text.len() > MAX_VALUE {
            return Err(Error::new(ErrorKind::InvalidOperation, TOO_LARGE));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    fn eval(expression: &str) -> Result<String, String> {
        let mut environment = Environment::empty();
        super::add(&mut environment);
        let compiled = environment
            .compile_expression(expression)
            .map_err(|error| error.to_string())?;
        compiled
            .eval(context! { list => vec![1, 2], text => "a\u{2028}\"b\u{7f}" })
            .map(|value| super::scalar(&value).unwrap_or_else(|| value.to_string()))
            .map_err(|error| error.detail().unwrap_or_default().to_owned())
    }

    #[test]
    fn each_filter_does_what_the_table_says() {
        for (expression, expected) in [
            ("text | json", r#""a\u2028\"b\u007f""#),
            ("list | json", "[1,2]"),
            ("'1m30s' | seconds", "90"),
            ("'500ms' | seconds", "0.5"),
            ("5 | seconds", "5"),
            ("'64Mi' | bytes", "67108864"),
            ("'1k' | bytes", "1000"),
            ("'redis:6379' | host", "redis"),
            ("'[::1]:6379' | host", "::1"),
            ("'redis:6379' | port", "6379"),
            ("'redis' | port(7000)", "7000"),
            ("'[::1]' | port(1)", "1"),
            ("list | length", "2"),
            ("list | join(',')", "1,2"),
            ("5 | string", "5"),
            ("nope is defined", "false"),
        ] {
            assert_eq!(eval(expression).as_deref(), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn each_filter_refuses_with_a_sentence() {
        for (expression, expected) in [
            (
                "'soon' | seconds",
                "`seconds` takes a duration such as `1m30s`, not `soon`",
            ),
            (
                "'1.5' | bytes",
                "`bytes` takes a quantity such as `64Mi`, not `1.5`",
            ),
            ("'redis' | port", "`redis` has no port: write `host:port`"),
            ("'redis:x' | host", "`redis:x` is not `host:port`"),
            ("'redis:0' | port", "`redis:0` is not `host:port`"),
            ("'a b:1' | host", "`a b:1` is not `host:port`"),
            ("'[::1]x' | host", "`[::1]x` is not `host:port`"),
            (
                "[list] | join",
                "`join` takes a list of scalars, not `[1, 2]`",
            ),
        ] {
            assert_eq!(eval(expression), Err(expected.to_owned()), "{expression}");
        }
    }
}
