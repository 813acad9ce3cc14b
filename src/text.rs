//! Small things that sentences are made of.

use std::fmt::Display;
use std::time::Duration;

use serde_json::Value;

/// The nearest of `known` to `word`, if one is near.
#[must_use]
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

/// From 0 to 1. One slip of the finger counts as near even in a short word, where Jaro and Winkler see none.
fn likeness(word: &str, candidate: &str) -> f64 {
    let slip = word.chars().count() > 2 && strsim::osa_distance(word, candidate) == 1;
    strsim::jaro_winkler(word, candidate).max(if slip { 0.85 } else { 0.0 })
}

/// ``: did you mean `x`?``, or nothing.
#[must_use]
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    did_you_mean(word, known)
        .map(|near| format!(": did you mean `{near}`?"))
        .unwrap_or_default()
}

/// `` `a`, `b` or `c` ``.
#[must_use]
pub(crate) fn or_list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    list(items, "or")
}

/// `` `a`, `b` and `c` ``.
#[must_use]
pub(crate) fn and_list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    list(items, "and")
}

fn list<T: Display>(items: impl IntoIterator<Item = T>, word: &str) -> String {
    let mut quoted: Vec<String> = items.into_iter().map(|item| format!("`{item}`")).collect();
    match quoted.pop() {
        None => String::new(),
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} {word} {last}", quoted.join(", ")),
    }
}

/// A value as a person would write it: strings bare.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `1 item`, `2 items`.
#[must_use]
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// `text` on one line, at most `limit` characters, the cut marked with `…`; control characters become spaces.
#[must_use]
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    let mut characters = text.chars().map(|character| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    });
    let mut short: String = characters.by_ref().take(limit).collect();
    if characters.next().is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// A duration in one unit of Go's notation: `5s`, `250ms`, `2m`, `168h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested() {
        assert_eq!(
            did_you_mean("redis-metrisc", ["https", "redis-metrics", "redis-shard"]),
            Some("redis-metrics")
        );
        assert_eq!(did_you_mean("zzz", ["https"]), None);
    }

    #[test]
    fn lists_read_as_english() {
        assert_eq!(or_list::<&str>([]), "");
        assert_eq!(or_list(["a"]), "`a`");
        assert_eq!(and_list(["a", "b", "c"]), "`a`, `b` and `c`");
    }

    #[test]
    fn excerpts_are_cut_at_characters() {
        assert_eq!(excerpt("äöü\nx", 3), "äö…");
        assert_eq!(excerpt("a\tb", 5), "a b");
    }
}
