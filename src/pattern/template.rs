//! Templates: trees whose string leaves hold expressions, and config files as text.
//!
//! A tree is YAML first; only then is each string leaf looked at, so no value can ever add a field. A leaf that is one
//! `{{ expression }}` keeps the expression's type; null leaves the entry out. In a file every string must go through an encoder
//! (`| json`): the formatter refuses a bare one, so that no value can end the string it stands in.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use minijinja::{Environment, Error, ErrorKind, Expression, UndefinedBehavior};
use serde_json::{Map, Value};

use super::bounds::{MAX_EXPRESSION, NO_PRODUCTS, TOO_LARGE, is_small, multiplies, too_long};
use super::{Fault, filters};

/// Instructions that one expression or file may execute; a file of 1 000 shards takes some 30 000.
const FUEL: u64 = 500_000;

/// What a template can see: see [`Scope::NAMES`].
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    entries: Vec<(&'static str, minijinja::Value)>,
    whole: minijinja::Value,
}

impl Scope {
    /// The names that a template may use.
    pub(crate) const NAMES: &[&str] = &[
        "params",
        "pod",
        "namespace",
        "app",
        "ports",
        "upstream",
        "instance",
    ];

    /// The scope as the engine wants it; cheap, since values are shared.
    pub(super) fn value(&self) -> minijinja::Value {
        self.whole.clone()
    }

    /// A scope of these names and values.
    pub(crate) fn new(values: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let entries = values
            .into_iter()
            .map(|(name, value)| (name, minijinja::Value::from(minijinja::value::Serde(value))))
            .collect();
        Self::of(entries)
    }

    /// The scope with one more name.
    pub(crate) fn with(&self, name: &'static str, value: Value) -> Self {
        let mut entries = self.entries.clone();
        entries.push((name, minijinja::Value::from(minijinja::value::Serde(value))));
        Self::of(entries)
    }

    fn of(entries: Vec<(&'static str, minijinja::Value)>) -> Self {
        let whole = minijinja::Value::from_pairs(entries.iter().cloned());
        Self { entries, whole }
    }
}

/// The language without any context: expressions are compiled against it.
static LANGUAGE: LazyLock<Environment<'static>> = LazyLock::new(language);

pub(super) fn language() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    filters::add(&mut environment);
    environment
}

/// One `{{ expression }}`.
pub(super) struct Template {
    source: String,
    expression: Expression<'static, 'static>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{ {} }}}}", self.source)
    }
}

impl Template {
    fn compile(source: &str) -> Result<Self, Fault> {
        let source = source.trim().to_owned();
        if source.len() > MAX_EXPRESSION {
            return Err(Fault::new("", too_long(source.len())));
        }
        if multiplies(&source, None) {
            return Err(Fault::new(
                "",
                format!("`{{{{ {source} }}}}`: {NO_PRODUCTS}"),
            ));
        }
        match LANGUAGE.compile_expression_owned(source.clone()) {
            Ok(expression) => Ok(Self { source, expression }),
            Err(error) => Err(Fault::new(
                "",
                format!("`{{{{ {source} }}}}`: {}", detail(&error)),
            )),
        }
    }

    fn eval(&self, scope: &Scope) -> Result<minijinja::Value, Fault> {
        let fail =
            |message: String| Fault::new("", format!("`{{{{ {} }}}}`: {message}", self.source));
        let value = self
            .expression
            .eval(scope.value())
            .map_err(|error| fail(detail(&error)))?;
        if value.is_undefined() {
            return Err(fail("undefined".to_owned()));
        }
        Ok(value)
    }
}

/// A YAML value some of whose string leaves are templates.
#[derive(Debug)]
pub(super) enum Tree {
    Fixed(Value),
    Expression(Template),
    Text(Vec<Piece>),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

#[derive(Debug)]
pub(super) enum Piece {
    Fixed(String),
    Expression(Template),
}

impl Tree {
    /// Compiles `value`; faults are collected under `path`.
    pub(super) fn compile(value: &Value, path: &str, faults: &mut Vec<Fault>) -> Self {
        match value {
            Value::String(text) if text.contains("{{") || text.contains("{%") => leaf(text)
                .unwrap_or_else(|fault| {
                    faults.push(fault.under(path));
                    Self::Fixed(Value::Null)
                }),
            Value::Array(items) => {
                let trees: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| Self::compile(item, &format!("{path}[{index}]"), faults))
                    .collect();
                if trees.iter().all(Self::is_fixed) {
                    Self::Fixed(value.clone())
                } else {
                    Self::List(trees)
                }
            }
            Value::Object(entries) => {
                let trees: Vec<_> = entries
                    .iter()
                    .map(|(key, entry)| {
                        (
                            key.clone(),
                            Self::compile(entry, &format!("{path}.{key}"), faults),
                        )
                    })
                    .collect();
                if trees.iter().all(|(_, tree)| tree.is_fixed()) {
                    Self::Fixed(value.clone())
                } else {
                    Self::Map(trees)
                }
            }
            _ => Self::Fixed(value.clone()),
        }
    }

    fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    /// The value in `scope`; `None` where a whole leaf is null, which leaves its entry out.
    pub(super) fn eval(&self, scope: &Scope) -> Result<Option<Value>, Fault> {
        Ok(Some(match self {
            Self::Fixed(value) => value.clone(),
            Self::Expression(template) => {
                let value = template.eval(scope)?;
                if value.is_none() {
                    return Ok(None);
                }
                json(&value, template)?
            }
            Self::Text(pieces) => Value::String(text(pieces, scope)?),
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    list.extend(
                        item.eval(scope)
                            .map_err(|fault| fault.under(&format!("[{index}]")))?,
                    );
                }
                Value::Array(list)
            }
            Self::Map(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for (key, entry) in entries {
                    if let Some(value) = entry.eval(scope).map_err(|fault| fault.under(key))? {
                        map.insert(key.clone(), value);
                    }
                }
                Value::Object(map)
            }
        }))
    }

    /// The part of the tree under `key`, of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, tree)| tree),
            _ => None,
        }
    }

    /// True if some leaf is one expression, so that what it gives decides the type there, and `varies` says so of its source.
    pub(super) fn any_typed_leaf(&self, varies: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Fixed(_) | Self::Text(_) => false,
            Self::Expression(template) => varies(&template.source),
            Self::List(items) => items.iter().any(|item| item.any_typed_leaf(varies)),
            Self::Map(entries) => entries
                .iter()
                .any(|(_, entry)| entry.any_typed_leaf(varies)),
        }
    }

    /// Every name that the tree uses, with what is looked up in it: `params.port`.
    pub(super) fn names(&self, into: &mut BTreeSet<String>) {
        let mut add =
            |template: &Template| into.extend(template.expression.undeclared_variables(true));
        match self {
            Self::Fixed(_) => {}
            Self::Expression(template) => add(template),
            Self::Text(pieces) => pieces.iter().for_each(|piece| match piece {
                Piece::Fixed(_) => {}
                Piece::Expression(template) => add(template),
            }),
            Self::List(items) => items.iter().for_each(|item| item.names(into)),
            Self::Map(entries) => entries.iter().for_each(|(_, entry)| entry.names(into)),
        }
    }

    /// The names that each leaf uses, by the leaf's path.
    pub(super) fn names_by_leaf(&self, path: &str, into: &mut Vec<(String, BTreeSet<String>)>) {
        match self {
            Self::Fixed(_) => {}
            Self::Expression(_) | Self::Text(_) => {
                let mut names = BTreeSet::new();
                self.names(&mut names);
                into.push((path.to_owned(), names));
            }
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.names_by_leaf(&format!("{path}[{index}]"), into);
                }
            }
            Self::Map(entries) => {
                for (key, entry) in entries {
                    entry.names_by_leaf(&format!("{path}.{key}"), into);
                }
            }
        }
    }
}

/// A string leaf: one expression, or text around expressions.
fn leaf(text: &str) -> Result<Tree, Fault> {
    if text.contains("{%") || text.contains("{#") {
        return Err(Fault::new(
            "",
            "only `{{ expression }}` works in a field; statements belong in `files`",
        ));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let (before, after) = rest.split_at(start);
        let end = expression_end(&after[2..])
            .ok_or_else(|| Fault::new("", format!("`{text}`: `{{{{` without `}}}}`")))?;
        if !before.is_empty() {
            pieces.push(Piece::Fixed(before.to_owned()));
        }
        pieces.push(Piece::Expression(Template::compile(&after[2..2 + end])?));
        rest = &after[end + 4..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Fixed(rest.to_owned()));
    }
    match <[Piece; 1]>::try_from(pieces) {
        Ok([Piece::Expression(template)]) => Ok(Tree::Expression(template)),
        Ok([fixed]) => Ok(Tree::Text(vec![fixed])),
        Err(pieces) => Ok(Tree::Text(pieces)),
    }
}

/// Where the `}}` stands that ends the expression; strings and the expression's own brackets are skipped.
fn expression_end(source: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0_usize;
    let mut escaped = false;
    for (index, character) in source.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            None if character == '"' || character == '\'' => quote = Some(character),
            None if depth == 0 && source[index..].starts_with("}}") => return Some(index),
            None if "([{".contains(character) => depth += 1,
            None if ")]}".contains(character) => depth = depth.saturating_sub(1),
            Some(_) | None => {}
        }
    }
    None
}

fn text(pieces: &[Piece], scope: &Scope) -> Result<String, Fault> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Fixed(fixed) => text.push_str(fixed),
            Piece::Expression(template) => {
                let value = template.eval(scope)?;
                let scalar = filters::scalar(&value).ok_or_else(|| {
                    Fault::new(
                        "",
                        format!(
                            "`{{{{ {} }}}}` is {}, which does not go into a text",
                            template.source,
                            value.kind()
                        ),
                    )
                })?;
                text.push_str(&scalar);
            }
        }
    }
    Ok(text)
}

fn json(value: &minijinja::Value, template: &Template) -> Result<Value, Fault> {
    if let Some(text) = value.as_str() {
        return Ok(Value::String(text.to_owned()));
    }
    let fault =
        |message: String| Fault::new("", format!("`{{{{ {} }}}}`: {message}", template.source));
    if !is_small(value) {
        return Err(fault(TOO_LARGE.to_owned()));
    }
    serde_json::to_value(value).map_err(|error| fault(error.to_string()))
}

/// The sentence of a template error, for people who did not write the engine.
pub(super) fn detail(error: &Error) -> String {
    if let Some(io) =
        std::error::Error::source(error).filter(|source| source.is::<std::io::Error>())
    {
        return io.to_string();
    }
    let text = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("takes more than {FUEL} steps"),
        (ErrorKind::UndefinedError, None) => "undefined value".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    match text
        .strip_prefix("filter ")
        .and_then(|rest| rest.strip_suffix(" is unknown"))
    {
        Some(filter) => format!(
            "unknown filter `{filter}`{}",
            crate::text::suggestion(filter, filters::NAMES.iter().copied())
        ),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scope() -> Scope {
        Scope::new([(
            "params",
            json!({"port": 80, "list": [1], "none": null, "text": "a\"b"}),
        )])
    }

    fn eval(value: Value) -> Result<Option<Value>, String> {
        let mut faults = Vec::new();
        let tree = Tree::compile(&value, "", &mut faults);
        match faults.pop() {
            Some(fault) => Err(fault.to_string()),
            None => tree.eval(&scope()).map_err(|fault| fault.to_string()),
        }
    }

    #[test]
    fn one_expression_keeps_its_type() {
        assert_eq!(eval(json!("{{ params.port }}")), Ok(Some(json!(80))));
        assert_eq!(eval(json!("{{ params.list }}")), Ok(Some(json!([1]))));
        assert_eq!(
            eval(json!(":{{ params.port }}/{{ '}}' }}")),
            Ok(Some(json!(":80/}}")))
        );
        assert_eq!(
            eval(json!("{{ {'a': {'b': params.port}}}}")),
            Ok(Some(json!({"a": {"b": 80}})))
        );
    }

    #[test]
    fn null_leaves_the_entry_out() {
        assert_eq!(
            eval(json!({"a": "{{ params.none }}", "b": ["{{ none }}", 1]})),
            Ok(Some(json!({"b": [1]})))
        );
    }

    #[test]
    fn a_value_never_becomes_a_field() {
        assert_eq!(
            eval(json!({"a": "{{ params.text }}: {{ params.text }}"})),
            Ok(Some(json!({"a": "a\"b: a\"b"})))
        );
    }

    #[test]
    fn faults_name_the_place() {
        assert_eq!(
            eval(json!({"a": [{"b": "{{ params.nope }}"}]})),
            Err("`a[0].b`: `{{ params.nope }}`: undefined".to_owned())
        );
        assert_eq!(
            eval(json!(["{{ params.list }}x"])),
            Err("`[0]`: `{{ params.list }}` is sequence, which does not go into a text".to_owned())
        );
        assert_eq!(
            eval(json!({"a": "{% if x %}"})),
            Err(
                "`.a`: only `{{ expression }}` works in a field; statements belong in `files`"
                    .to_owned()
            )
        );
        assert_eq!(
            eval(json!("{{ 1 | jsn }}")),
            Err("`{{ 1 | jsn }}`: unknown filter `jsn`: did you mean `json`?".to_owned())
        );
        assert_eq!(
            eval(json!("{{ params.port")),
            Err("`{{ params.port`: `{{` without `}}`".to_owned())
        );
    }
}
