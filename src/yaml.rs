//! YAML in and out, bounded, and the line and column of a field.
//!
//! Everything that people write reaches the rest of the code as a [`Value`] made here: anchors are budgeted, duplicate keys refused.
//! Files are read as kubectl reads them, where `yes` is true and `0644` octal (`sigs.k8s.io/yaml`, YAML 1.1); annotations are YAML 1.2,
//! where `no` is the country.

use serde_json::Value;
use serde_saphyr::{Error as SaphyrError, budget, options};

/// One sentence and, where the parser knows it, the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub message: String,
    pub place: Option<Position>,
}

/// A place in a text: line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

/// The largest annotation value that is read as YAML, in bytes; parameters are small, files come from patterns.
pub const MAX_ANNOTATION: usize = 64 * 1024;

/// Reads one document. The empty document is null.
pub fn read(text: &str) -> Result<Value, Error> {
    let options = options! {
        // Four times what an object of the API may weigh (1.5 MiB in etcd) would still parse; a bomb of aliases would not.
        budget: budget! { max_documents: 1, max_nodes: 400_000, max_aliases: 1_000, max_depth: 128 },
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    parse(text, options)
}

/// Reads the value of an annotation: the same language, a smaller budget, no anchors.
pub fn read_annotation(text: &str) -> Result<Value, Error> {
    let options = options! {
        budget: budget! { max_documents: 1, max_nodes: 4_096, max_anchors: 0, max_aliases: 0, max_depth: 32 },
        strict_booleans: true,
        with_snippet: false,
    };
    parse(text, options)
}

fn parse(text: &str, options: serde_saphyr::Options) -> Result<Value, Error> {
    match serde_saphyr::from_str_with_options::<Option<Value>>(text, options) {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(error) => Err(sentence(&error)),
    }
}

/// saphyr's own sentence, on one line, without the position that we print in front of it.
fn sentence(error: &SaphyrError) -> Error {
    let error = error.without_snippet();
    let place = error
        .location()
        .filter(|location| location.line() > 0)
        .map(|location| Position {
            line: location.line(),
            column: location.column(),
        });
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or(&text);
    Error {
        message: plainly(text.lines().next().unwrap_or_default().trim()),
        place,
    }
}

/// What the parser says to programmers, said to people.
fn plainly(text: &str) -> String {
    if let Some(rest) = text.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set ").next().unwrap_or(rest);
        return format!("duplicate key `{key}`");
    }
    if text == "recursion limit exceeded" {
        return "nested too deep".to_owned();
    }
    let Some(breach) = text.strip_prefix("budget breached: ") else {
        return text.to_owned();
    };
    let number: String = breach.chars().filter(char::is_ascii_digit).collect();
    let limit = number
        .parse::<u64>()
        .map_or(0, |number| number.saturating_sub(1));
    match breach.split([' ', '{']).next().unwrap_or_default() {
        "Anchors" | "Aliases" if limit == 0 => {
            "anchors and aliases are not allowed here".to_owned()
        }
        "Aliases" => format!("more than {limit} aliases"),
        "Nodes" => format!("more than {limit} values"),
        "Depth" => format!("nested deeper than {limit}"),
        "Documents" => "more than one document".to_owned(),
        _ => "too large".to_owned(),
    }
}

/// Writes one document, block style, in the order of the value.
pub fn write(value: &Value) -> Result<String, Error> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, yaml_12: false };
    let mut text = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut text, value, options).map_err(|error| Error {
        message: error.to_string(),
        place: None,
    })?;
    Ok(text)
}

/// A step on the way to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// The steps of a path such as `spec.containers[0].name`, as `serde_path_to_error` writes them. Keys with dots do not occur in it.
#[must_use]
pub fn steps(path: &str) -> Vec<Step> {
    path.split(['.', '['])
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_suffix(']').map(str::parse) {
            Some(Ok(index)) => Step::Index(index),
            _ => Step::Key(part.to_owned()),
        })
        .collect()
}

/// Where the field that `path` names stands in `text` (its first document): the deepest step that exists. `None` for an empty document, and where the text does not parse that far.
#[must_use]
pub fn locate(text: &str, path: &[Step]) -> Option<Position> {
    let mut parser = granit_parser::Parser::new_from_str(text);
    let mut cursor = Cursor { path, best: None };
    loop {
        let (event, span) = parser.next_event()?.ok()?;
        if event.is_node() {
            cursor.node(&mut parser, event, span, 0);
            return cursor.best;
        }
    }
}

type Parser<'a> = granit_parser::Parser<'a, granit_parser::StrInput<'a>>;

/// The depth of a node that the path does not lead to.
const LEFT: usize = usize::MAX - 1;

struct Cursor<'p> {
    path: &'p [Step],
    best: Option<Position>,
}

impl Cursor<'_> {
    /// Walks one node; `depth` is how much of the path led to it, [`LEFT`] once it has been left.
    fn node<'a>(
        &mut self,
        parser: &mut Parser<'a>,
        event: granit_parser::Event<'a>,
        span: granit_parser::Span,
        depth: usize,
    ) -> Option<()> {
        use granit_parser::Event;
        if depth == self.path.len() && self.best.is_none() || depth == 0 {
            self.best = Some(place(&span));
        }
        match event {
            Event::MappingStart(..) => loop {
                let (key, key_span) = parser.next_event()?.ok()?;
                if matches!(key, Event::MappingEnd) {
                    return Some(());
                }
                let hit = matches!((key.scalar(), self.path.get(depth)), (Some((text, _)), Some(Step::Key(step))) if text == step);
                if hit {
                    self.best = Some(place(&key_span));
                } else if key.scalar().is_none() {
                    self.node(parser, key, key_span, LEFT);
                }
                let (value, value_span) = parser.next_event()?.ok()?;
                self.node(
                    parser,
                    value,
                    value_span,
                    if hit { depth + 1 } else { LEFT },
                );
            },
            Event::SequenceStart(..) => {
                for index in 0.. {
                    let (item, item_span) = parser.next_event()?.ok()?;
                    if matches!(item, Event::SequenceEnd) {
                        return Some(());
                    }
                    let hit = self.path.get(depth) == Some(&Step::Index(index));
                    if hit {
                        self.best = Some(place(&item_span));
                    }
                    self.node(parser, item, item_span, if hit { depth + 1 } else { LEFT });
                }
                Some(())
            }
            _ => Some(()),
        }
    }
}

fn place(span: &granit_parser::Span) -> Position {
    Position {
        line: span.start.line() as u64,
        column: span.start.col() as u64 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_yaml_1_1_and_annotations_1_2() {
        let text = "{a: no, b: yes, c: on, d: true, e: 0644, f: 1.5, g: ~, h: 'no', i: 8080.0}";
        assert_eq!(
            read(text).unwrap(),
            json!({"a":false,"b":true,"c":true,"d":true,"e":420,"f":1.5,"g":null,"h":"no","i":8080.0})
        );
        assert_eq!(
            read_annotation(text).unwrap(),
            json!({"a":"no","b":"yes","c":"on","d":true,"e":644.0,"f":1.5,"g":null,"h":"no","i":8080.0})
        );
    }

    #[test]
    fn nothing_is_null() {
        assert_eq!(read("").unwrap(), Value::Null);
        assert_eq!(read("# only a comment\n").unwrap(), Value::Null);
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let below = level - 1;
            text.push_str(&format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}]\n"));
        }
        assert!(read(&text).is_err());
        assert!(read_annotation("{a: &a 1, b: *a}").is_err());
    }

    #[test]
    fn duplicate_keys_are_refused() {
        let error = read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(error.place.map(|place| place.line), Some(3), "{error}");
    }

    #[test]
    fn what_is_written_reads_back_as_a_string_in_yaml_1_1_too() {
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "~",
            "null",
            "012",
            "0x1F",
            "1e3",
            "1_000",
            "12:30:45",
            ".inf",
            "=",
            "<<",
            "- a",
            "a: b",
            "#c",
            "",
            " x ",
            "2001-01-01",
            "true",
            "1.5",
            "0b1",
            "a\nb\n",
            "\u{7f}",
        ] {
            let written = write(&json!({"k": text})).unwrap();
            assert_eq!(read(&written).unwrap(), json!({"k": text}), "{written}");
        }
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "012",
            "0x1F",
            "1e3",
            "1_000",
            "12:30:45",
            "2001-01-01",
            "0b1",
        ] {
            let written = write(&json!({"k": text})).unwrap();
            assert!(written.contains('"') || written.contains('\''), "{written}");
        }
    }

    #[test]
    fn fields_are_found() {
        let text = "# c\nmetadata:\n  annotations:\n    a/b.c: x\nspec:\n  list:\n  - name: a\n  - name: b\n    deep: {q: 1}\n";
        let at = |path: &[Step]| locate(text, path).map(|place| (place.line, place.column));
        let key = |text: &str| Step::Key(text.to_owned());
        assert_eq!(
            at(&[key("metadata"), key("annotations"), key("a/b.c")]),
            Some((4, 5))
        );
        assert_eq!(at(&steps("spec.list[1].deep.q")), Some((9, 12)));
        assert_eq!(at(&steps("spec.list[7].name")), Some((6, 3)));
        assert_eq!(at(&[]), Some((2, 1)));
    }
}
