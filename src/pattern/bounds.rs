//! Bounds: what fuel does not count. How long an expression may be, that nothing is repeated, how large a value may get.

use minijinja::value::{Value, ValueKind};

/// Longest expression, in bytes. The engine compiles operators in a row by recursion, on our stack.
pub(super) const MAX_EXPRESSION: usize = 1024;

/// The sentence for a longer one.
pub(super) fn too_long(length: usize) -> String {
    format!("the expression is {length} bytes long, expected at most {MAX_EXPRESSION}")
}

/// Why `*` is refused.
pub(super) const NO_PRODUCTS: &str =
    "`*` is not in the language: it repeats strings and lists, which no fuel counts";

/// True if the expression that `source` starts with, up to `close` or its end, has a `*` outside its strings.
pub(super) fn multiplies(source: &str, close: Option<&str>) -> bool {
    let mut quote = None;
    let mut escaped = false;
    for (index, character) in source.char_indices() {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '*') => return true,
            (None, _) if close.is_some_and(|close| source[index..].starts_with(close)) => {
                return false;
            }
            _ => {}
        }
    }
    false
}

/// Bytes of a value that becomes text or a field: more than all annotations of a Pod may have.
pub(super) const MAX_VALUE: usize = 512 * 1024;
/// The sentence for a larger one.
pub(super) const TOO_LARGE: &str = "the value grows past 512 KiB";

/// True if a value is not too large; it is not looked at any further than that, since lists may be longer than memory.
pub(super) fn is_small(value: &Value) -> bool {
    fn weigh(value: &Value, left: &mut usize) -> bool {
        let own = value.as_str().map_or(8, str::len);
        if *left < own {
            return false;
        }
        *left -= own;
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => value
                .try_iter()
                .is_ok_and(|mut items| items.all(|item| weigh(&item, left))),
            ValueKind::Map => value.try_iter().is_ok_and(|mut keys| {
                keys.all(|key| {
                    weigh(&key, left) && value.get_item(&key).is_ok_and(|entry| weigh(&entry, left))
                })
            }),
            _ => true,
        }
    }
    weigh(value, &mut { MAX_VALUE })
}
