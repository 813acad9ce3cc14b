//! One entry of the log: from the server's reply to a line.

use clap::ValueEnum;
use redis::Value;
use serde_json::{Map, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Log, keys};

/// What of the arguments is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Arguments {
    /// The command's name only
    None,
    /// Its first key, too
    Key,
    /// All that the server kept of them
    All,
}

/// An entry as `SLOWLOG GET` gives it (Redis 4 and later: with the client).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: i64,
    at: i64,
    /// Microseconds; for Valkey's large requests and replies, bytes.
    amount: i64,
    words: Vec<String>,
    client: Option<(String, String)>,
}

impl Entry {
    /// None for what no server sends.
    pub(super) fn parse(value: Value) -> Option<Self> {
        let Value::Array(parts) = value else {
            return None;
        };
        let mut parts = parts.into_iter();
        let mut number = || match parts.next() {
            Some(Value::Int(number)) => Some(number),
            _ => None,
        };
        let (id, at, amount) = (number()?, number()?, number()?);
        let Some(Value::Array(words)) = parts.next() else {
            return None;
        };
        let words = words.into_iter().map(text).collect();
        let client = parts.next().map(text).zip(parts.next().map(text));
        Some(Self {
            id,
            at,
            amount,
            words,
            client,
        })
    }

    /// The line for it.
    pub(super) fn line(&self, log: Log, arguments: Arguments) -> serde_json::Value {
        let Self {
            id,
            at,
            amount,
            words,
            client,
        } = self;
        let mut line = Map::new();
        let time = OffsetDateTime::from_unix_timestamp(*at)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok());
        line.insert("time".to_owned(), json!(time));
        line.insert("level".to_owned(), json!("warn"));
        let (message, measure) = match log {
            Log::Slow => ("redis slow command", "duration_us"),
            Log::Commands("large-request") => ("redis large request", "bytes"),
            Log::Commands(_) => ("redis large reply", "bytes"),
        };
        line.insert("msg".to_owned(), json!(message));
        line.insert("id".to_owned(), json!(id));
        line.insert(measure.to_owned(), json!(amount));
        if let Some(command) = words.first() {
            line.insert("command".to_owned(), json!(command.to_uppercase()));
        }
        line.insert("argc".to_owned(), json!(argc(words)));
        let key = match arguments {
            Arguments::None => None,
            Arguments::Key | Arguments::All => keys::first(words),
        };
        if let Some(key) = key {
            line.insert("key".to_owned(), json!(key));
        }
        if arguments == Arguments::All {
            line.insert("args".to_owned(), json!(words.get(1..).unwrap_or_default()));
        }
        if let Some((address, name)) = client {
            line.insert("client".to_owned(), json!(address));
            line.insert("client_name".to_owned(), json!(name));
        }
        line.into()
    }
}

/// How many words the command had; of long ones the server keeps 31, and says how many are left out.
fn argc(words: &[String]) -> usize {
    let more = words.last().and_then(|last| {
        last.strip_prefix("... (")?
            .strip_suffix(" more arguments)")?
            .parse::<usize>()
            .ok()
    });
    match more {
        Some(more) if words.len() == 32 => 31 + more,
        _ => words.len(),
    }
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) => text,
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The time for a line of our own.
pub(super) fn now() -> Option<String> {
    OffsetDateTime::now_utc().format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(words: &[&str]) -> Entry {
        let words = Value::Array(words.iter().map(|word| bulk(word)).collect());
        let parts = vec![
            Value::Int(4),
            Value::Int(1_700_000_000),
            Value::Int(12975),
            words,
            bulk("127.0.0.1:42216"),
            bulk(""),
        ];
        Entry::parse(Value::Array(parts)).expect("an entry")
    }

    #[test]
    fn a_line_says_what_happened() {
        let line = entry(&["get", "user:1"]).line(Log::Slow, Arguments::Key);
        assert_eq!(
            line.to_string(),
            r#"{"time":"2023-11-14T22:13:20Z","level":"warn","msg":"redis slow command","id":4,"duration_us":12975,"command":"GET","argc":2,"key":"user:1","client":"127.0.0.1:42216","client_name":""}"#
        );
    }

    #[test]
    fn arguments_are_shown_as_far_as_they_may() {
        let entry = entry(&["SET", "user:1", "secret"]);
        assert_eq!(entry.line(Log::Slow, Arguments::None).get("key"), None);
        assert_eq!(entry.line(Log::Slow, Arguments::Key).get("args"), None);
        assert_eq!(
            entry.line(Log::Slow, Arguments::All)["args"],
            json!(["user:1", "secret"])
        );
        assert_eq!(
            entry.line(Log::Commands("large-reply"), Arguments::None)["bytes"],
            12975
        );
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for odd in [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![
                Value::Int(1),
                Value::Int(2),
                Value::Int(3),
                Value::Nil,
            ]),
        ] {
            assert_eq!(Entry::parse(odd), None);
        }
    }
}
