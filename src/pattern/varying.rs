//! Which fields can get another type than the trial rendering saw: only these are held against the API's types at admission.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::schema::Schema;
use super::template::Tree;

/// Fields by the part of the pattern they are in: `containers`, `volumes` and so on, as the body calls them.
#[derive(Debug, Default)]
pub(crate) struct Varying(BTreeMap<String, Fields>);

/// Fields of the entries of a list.
#[derive(Debug)]
enum Fields {
    Some(BTreeSet<String>),
    /// An entry is itself one expression.
    All,
}

impl Varying {
    pub(super) fn of(body: &Tree, schema: &Schema) -> Self {
        let Tree::Map(parts) = body else {
            return Self::default();
        };
        let found = parts.iter().filter_map(|(part, tree)| {
            let fields = fields(tree, &|source| varies(source, schema))?;
            Some((part.clone(), fields))
        });
        Self(found.collect())
    }

    /// True if some entry of `part` is to be checked.
    pub(crate) fn has(&self, part: &str) -> bool {
        self.0.contains_key(part)
    }

    /// What of `entry` is to be checked: it, with its name and the fields that vary; `None` if nothing is.
    pub(crate) fn narrow(&self, part: &str, entry: &Value) -> Option<Value> {
        match (self.0.get(part)?, entry) {
            (Fields::Some(fields), Value::Object(all)) => {
                let kept = all
                    .iter()
                    .filter(|(field, _)| *field == "name" || fields.contains(*field))
                    .map(|(field, value)| (field.clone(), value.clone()));
                Some(Value::Object(kept.collect::<Map<_, _>>()))
            }
            _ => Some(entry.clone()),
        }
    }
}

/// The varying fields of a list's entries; `None` if there are none.
fn fields(list: &Tree, varies: &dyn Fn(&str) -> bool) -> Option<Fields> {
    let Tree::List(entries) = list else {
        return list.any_typed_leaf(varies).then_some(Fields::All);
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        match entry {
            Tree::Map(fields) => found.extend(
                fields
                    .iter()
                    .filter(|(_, tree)| tree.any_typed_leaf(varies))
                    .map(|(field, _)| field.clone()),
            ),
            other if other.any_typed_leaf(varies) => return Some(Fields::All),
            _ => {}
        }
    }
    (!found.is_empty()).then_some(Fields::Some(found))
}

/// A leaf that is one lookup of a scalar parameter or a given port has always the type that the trial saw.
fn varies(source: &str, schema: &Schema) -> bool {
    let lookup = |rest: &str| {
        rest.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match source.split_once('.') {
        Some(("params", name)) => !schema.is_scalar(name),
        Some(("ports" | "upstream", rest)) => !lookup(rest),
        Some(("instance", "name" | "container")) => false,
        _ => true,
    }
}
