//! Several JSON answers become one. Pure.
//!
//! Values are cut out of the answers as text and put together again as text: what one leaf alone says is passed on digit by digit.

use std::borrow::Cow;
use std::cmp::Ordering;

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Objects within objects that are merged; what is deeper stays as the first leaf says it.
const DEPTH: usize = 64;
/// Items that are taken apart to be sorted or cut. An item can be as small as two bytes of a body, and costs fifty here.
pub(super) const MOST_ITEMS: usize = 1_000_000;

/// How answers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Merge {
    /// Lists are joined, objects merged key by key, numbers added; of anything else the first stays
    Deep,
    /// One list: the items of those that are lists, and the others as items
    Concat,
    /// The first good answer, as it is; the others are not waited for
    First,
    /// A list of what each leaf answered: `{"leaf", "status", "body"}`, or `{"leaf", "error"}`
    Raw,
}

/// What happens to the list in the merged answer.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// Where the list is, such as `result.hits`; empty for the answer itself.
    pub(super) list: Vec<String>,
    pub(super) order: Option<Order>,
    pub(super) limit: Option<usize>,
}

/// By which field of the items, such as `score`, and which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    path: Vec<String>,
    descending: bool,
}

impl Order {
    /// `score`, or `-score` for descending.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (descending, path) = match text.strip_prefix('-') {
            Some(path) => (true, path),
            None => (false, text),
        };
        Ok(Self {
            path: parse_path(path)?,
            descending,
        })
    }
}

/// `hits` or `result.hits`.
pub(super) fn parse_path(text: &str) -> Result<Vec<String>, String> {
    let steps: Vec<_> = text.split('.').map(str::to_owned).collect();
    if steps.iter().any(String::is_empty) {
        return Err(format!(
            "expected a path such as score or meta.score, not `{text}`"
        ));
    }
    Ok(steps)
}

/// A value on its way to the answer.
enum Merged<'a> {
    /// As a leaf wrote it.
    Text(&'a str),
    /// The items of these lists, and what is no list as an item. They are not taken apart where nobody counts them: items may be
    /// small, and many.
    Lists(Vec<&'a str>),
    Items(Vec<&'a str>),
    Map(Vec<(Cow<'a, str>, Self)>),
    Sum(String),
}

/// More than [`MOST_ITEMS`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// One JSON document out of several, which must each be JSON.
pub(super) fn merge(how: Merge, answers: &[&str], shape: &Shape) -> Result<String, TooMany> {
    let mut merged = match how {
        Merge::Concat => Merged::Lists(answers.to_vec()),
        Merge::Deep | Merge::First | Merge::Raw => deep(answers, 0),
    };
    if shape.order.is_some() || shape.limit.is_some() {
        merged.shape(&shape.list, shape)?;
    }
    let mut out = String::with_capacity(answers.iter().map(|answer| answer.len()).sum());
    merged.write(&mut out);
    Ok(out)
}

/// A list's items; another value is its own only item.
fn items(text: &str) -> Vec<&str> {
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(items) => items.into_iter().map(RawValue::get).collect(),
        Err(_) => vec![text],
    }
}

/// An object's entries in their order. Keys with escapes are not borrowed.
#[derive(Deserialize)]
struct Entry<'a>(#[serde(borrow)] Cow<'a, str>);

fn entries(text: &str) -> Vec<(Cow<'_, str>, &str)> {
    struct Entries;
    impl<'de> serde::de::Visitor<'de> for Entries {
        type Value = Vec<(Cow<'de, str>, &'de str)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some((Entry(key), value)) = map.next_entry::<Entry<'de>, &RawValue>()? {
                entries.push((key, value.get()));
            }
            Ok(entries)
        }
    }
    use serde::Deserializer;
    serde_json::Deserializer::from_str(text)
        .deserialize_map(Entries)
        .unwrap_or_default()
}

fn deep<'a>(values: &[&'a str], depth: usize) -> Merged<'a> {
    let said: Vec<&str> = values
        .iter()
        .map(|value| value.trim())
        .filter(|value| *value != "null")
        .collect();
    let [first, rest @ ..] = said.as_slice() else {
        return Merged::Text("null");
    };
    if rest.is_empty() {
        return Merged::Text(first);
    }
    let kind = kind(first);
    let alike = said
        .iter()
        .copied()
        .filter(|value| self::kind(value) == kind);
    match kind {
        Kind::List => Merged::Lists(alike.collect()),
        Kind::Object if depth < DEPTH => {
            let mut keys: Vec<(Cow<str>, Vec<&str>)> = Vec::new();
            let mut places = std::collections::HashMap::new();
            for (key, value) in alike.flat_map(entries) {
                let place = *places.entry(key.clone()).or_insert_with(|| {
                    keys.push((key, Vec::new()));
                    keys.len() - 1
                });
                keys[place].1.push(value);
            }
            Merged::Map(
                keys.into_iter()
                    .map(|(key, values)| (key, deep(&values, depth + 1)))
                    .collect(),
            )
        }
        Kind::Number => sum(alike).map_or(Merged::Text(first), Merged::Sum),
        Kind::Object | Kind::Other => Merged::Text(first),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Object,
    Number,
    Other,
}

fn kind(value: &str) -> Kind {
    match value.as_bytes().first() {
        Some(b'[') => Kind::List,
        Some(b'{') => Kind::Object,
        Some(b'-' | b'0'..=b'9') => Kind::Number,
        _ => Kind::Other,
    }
}

/// Whole numbers stay whole; none for what no double holds.
fn sum<'a>(numbers: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let whole = numbers
        .clone()
        .map(|number| number.parse::<i128>().ok())
        .try_fold(0i128, |sum, number| sum.checked_add(number?));
    if let Some(sum) = whole {
        return Some(sum.to_string());
    }
    let sum: f64 = numbers
        .filter_map(|number| number.parse::<f64>().ok())
        .sum();
    serde_json::Number::from_f64(sum).map(|sum| sum.to_string())
}

impl Merged<'_> {
    /// Sorts and cuts the list at the path, if there is one.
    fn shape(&mut self, path: &[String], shape: &Shape) -> Result<(), TooMany> {
        if let Self::Text(text) = *self {
            *self = match kind(text.trim()) {
                Kind::List => Self::Lists(vec![text]),
                Kind::Object => Self::Map(
                    entries(text)
                        .into_iter()
                        .map(|(key, value)| (key, Merged::Text(value)))
                        .collect(),
                ),
                Kind::Number | Kind::Other => return Ok(()),
            };
        }
        if let (Self::Lists(lists), []) = (&*self, path) {
            let mut all = Vec::new();
            for list in lists {
                all.extend(items(list));
                if all.len() > MOST_ITEMS {
                    return Err(TooMany);
                }
            }
            *self = Self::Items(all);
        }
        match (self, path) {
            (Self::Items(items), []) => {
                if let Some(order) = &shape.order {
                    sort(items, order);
                }
                if let Some(limit) = shape.limit {
                    items.truncate(limit);
                }
            }
            (Self::Map(entries), [step, rest @ ..]) => {
                for (_, value) in entries.iter_mut().filter(|(key, _)| key == step) {
                    value.shape(rest, shape)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Sum(number) => out.push_str(number),
            Self::Lists(lists) => write_list(out, lists.iter().map(|list| inside(list))),
            Self::Items(items) => write_list(out, items.iter().copied()),
            Self::Map(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&serde_json::Value::from(key.as_ref()).to_string());
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// A list's items as one text; another value is its own only item.
fn inside(text: &str) -> &str {
    let text = text.trim();
    let items = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    items.map_or(text, str::trim)
}

fn write_list<'a>(out: &mut String, items: impl Iterator<Item = &'a str>) {
    out.push('[');
    let begin = out.len();
    for item in items.filter(|item| !item.is_empty()) {
        if out.len() > begin {
            out.push(',');
        }
        out.push_str(item);
    }
    out.push(']');
}

/// What items are ordered by: numbers, then texts; those without either come last, whichever way.
#[derive(PartialEq)]
enum Key {
    Number(f64),
    Text(String),
    None,
}

fn sort(items: &mut [&str], order: &Order) {
    items.sort_by_cached_key(|item| Ranked {
        key: key(item, &order.path),
        descending: order.descending,
    });
}

struct Ranked {
    key: Key,
    descending: bool,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = match (&self.key, &other.key) {
            (Key::Number(a), Key::Number(b)) => a.total_cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            (Key::Number(_), Key::Text(_)) => Ordering::Less,
            (Key::Text(_), Key::Number(_)) => Ordering::Greater,
            (Key::None, Key::None) => return Ordering::Equal,
            (Key::None, _) => return Ordering::Greater,
            (_, Key::None) => return Ordering::Less,
        };
        if self.descending {
            by_value.reverse()
        } else {
            by_value
        }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

fn key(item: &str, path: &[String]) -> Key {
    match path {
        [] => match kind(item) {
            Kind::Number => item.parse().map_or(Key::None, Key::Number),
            _ => serde_json::from_str(item).map_or(Key::None, Key::Text),
        },
        [step, rest @ ..] if kind(item) == Kind::Object => entries(item)
            .into_iter()
            .find(|(key, _)| key == step)
            .map_or(Key::None, |(_, value)| key(value, rest)),
        _ => Key::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deep(answers: &[&str]) -> String {
        merged(Merge::Deep, answers, &Shape::default())
    }

    fn merged(how: Merge, answers: &[&str], shape: &Shape) -> String {
        merge(how, answers, shape).expect("few items")
    }

    fn shape(list: &str, order: &str, limit: usize) -> Shape {
        let list = if list.is_empty() {
            Vec::new()
        } else {
            parse_path(list).expect("a path")
        };
        Shape {
            list,
            order: Some(Order::parse(order).expect("an order")),
            limit: Some(limit),
        }
    }

    #[test]
    fn lists_are_joined_objects_merged_numbers_added() {
        assert_eq!(
            deep(&[
                r#"{"total":2,"hits":[{"id":1},{"id":2}],"shard":{"a":1},"name":"first"}"#,
                r#" { "total": 3, "hits": [ {"id":3} ], "shard":{"b":2}, "name":"second", "new": null }"#,
            ]),
            r#"{"total":5,"hits":[{"id":1},{"id":2},{"id":3}],"shard":{"a":1,"b":2},"name":"first","new":null}"#
        );
    }

    #[test]
    fn numbers_stay_what_they_are() {
        // No double holds these.
        assert_eq!(deep(&["9007199254740993", "1"]), "9007199254740994");
        assert_eq!(
            deep(&["18446744073709551615", "18446744073709551615"]),
            "36893488147419103230"
        );
        assert_eq!(
            deep(&["[12345678901234567890.123456789]", "[1e400]"]),
            "[12345678901234567890.123456789,1e400]"
        );
        assert_eq!(deep(&["0.5", "1"]), "1.5");
        assert_eq!(deep(&["1e400", "1"]), "1e400");
    }

    #[test]
    fn of_different_kinds_the_first_stays_and_null_is_no_answer() {
        assert_eq!(deep(&["[1]", "{\"a\":1}", "[2]"]), "[1,2]");
        assert_eq!(deep(&["null", "\"a\"", "\"b\""]), "\"a\"");
        assert_eq!(deep(&["null", "null"]), "null");
        assert_eq!(deep(&[]), "null");
        assert_eq!(deep(&["true", "false"]), "true");
    }

    #[test]
    fn keys_may_have_escapes_and_come_twice() {
        assert_eq!(
            deep(&[r#"{"a\"\u00e9":1,"a\"é":1}"#, r#"{"a\"é":1}"#]),
            r#"{"a\"é":3}"#
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deepest =
            |leaf: &str| format!("{}{leaf}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        let merged = deep(&[&deepest("1"), &deepest("2")]);
        assert_eq!(merged, deepest("1"));
    }

    #[test]
    fn concat_makes_one_list() {
        assert_eq!(
            merged(
                Merge::Concat,
                &[" [ 1,2 ] ", "3", "{\"a\":[]}", "[]", "[ ]"],
                &Shape::default()
            ),
            "[1,2,3,{\"a\":[]}]"
        );
    }

    #[test]
    fn a_list_is_sorted_and_cut() {
        let answers = [
            r#"{"hits":[{"s":{"n":1}},{"s":{"n":10}},{"x":0}]}"#,
            r#"{"hits":[{"s":{"n":9.5}},{"s":{"n":"a"}}]}"#,
        ];
        assert_eq!(
            merged(Merge::Deep, &answers, &shape("hits", "-s.n", 4)),
            r#"{"hits":[{"s":{"n":"a"}},{"s":{"n":10}},{"s":{"n":9.5}},{"s":{"n":1}}]}"#
        );
        assert_eq!(
            merged(Merge::Deep, &answers[..1], &shape("hits", "s.n", 9)),
            r#"{"hits":[{"s":{"n":1}},{"s":{"n":10}},{"x":0}]}"#
        );
        assert_eq!(
            merged(
                Merge::Concat,
                &["[3,1]", "[2]"],
                &Shape {
                    limit: Some(2),
                    ..Shape::default()
                }
            ),
            "[3,1]"
        );
        // Nothing there to sort.
        assert_eq!(
            merged(Merge::Deep, &["{\"a\":1}"], &shape("hits", "s", 1)),
            "{\"a\":1}"
        );
        assert_eq!(
            merged(Merge::Deep, &["5", "6"], &shape("hits", "s", 1)),
            "11"
        );
    }

    #[test]
    fn so_many_items_are_not_taken_apart() {
        let many = format!("[{}1]", "1,".repeat(MOST_ITEMS));
        let first = Shape {
            limit: Some(1),
            ..Shape::default()
        };
        assert_eq!(merge(Merge::Deep, &[&many], &first), Err(TooMany));
        assert!(merge(Merge::Deep, &[&many], &Shape::default()).is_ok());
    }
}
