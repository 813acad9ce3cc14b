//! Config files: text templates in which every string goes through an encoder.

use std::collections::BTreeSet;
use std::io;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind};

use super::Fault;
use super::bounds::{MAX_EXPRESSION, NO_PRODUCTS, multiplies, too_long};
use super::template::{Scope, detail, language};

/// Bytes that one file may have; all annotations of a Pod together have no more (`apimachinery/pkg/api/validation/objectmeta.go`).
const MAX_FILE: usize = 256 * 1024;

/// A config file's template.
#[derive(Debug)]
pub(super) struct File {
    environment: Environment<'static>,
}

/// Branches that one file may have: the engine nests them.
const MAX_BRANCHES: usize = 64;

const NAME: &str = "file";

impl File {
    /// Compiles the text of a file.
    pub(super) fn compile(source: &str) -> Result<Self, Fault> {
        statements(source)?;
        let mut environment = language();
        environment.set_formatter(|out, _, value| match value.kind() {
            ValueKind::String if !value.is_safe() => Err(Error::new(
                ErrorKind::InvalidOperation,
                "a string without an encoder: write `| json`".to_owned(),
            )),
            ValueKind::Bool => write!(out, "{}", value.is_true()).map_err(Error::from),
            ValueKind::String | ValueKind::Number => write!(out, "{value}").map_err(Error::from),
            kind => Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("{kind} without an encoder: write `| json`"),
            )),
        });
        let mut syntax = minijinja::syntax::SyntaxConfig::builder();
        syntax
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true);
        environment.set_syntax(
            syntax
                .build()
                .map_err(|error| Fault::new("", detail(&error)))?,
        );
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| Fault::new("", at_line(&error)))?;
        Ok(Self { environment })
    }

    /// The text in `scope`.
    pub(super) fn render(&self, scope: &Scope) -> Result<String, Fault> {
        let fail = |error: &Error| Fault::new("", at_line(error));
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|error| fail(&error))?;
        let mut out = Bounded(Vec::with_capacity(template.source().len() + 256));
        template
            .render_captured_to(scope.value(), &mut out)
            .map_err(|error| fail(&error))?;
        String::from_utf8(out.0).map_err(|error| Fault::new("", error.to_string()))
    }

    /// Every name that the file uses, as a tree does.
    pub(super) fn names(&self, into: &mut BTreeSet<String>) {
        if let Ok(template) = self.environment.get_template(NAME) {
            into.extend(template.undeclared_variables(true));
        }
    }
}

/// Only `if` and `for`: `set` and its like could double a string at each step, which fuel does not count. Long expressions and many
/// `elif`s would take our stack with them.
fn statements(source: &str) -> Result<(), Fault> {
    let fault = |start: usize, message: String| {
        let line = source[..start].matches('\n').count() + 1;
        Err(Fault::new("", format!("line {line}: {message}")))
    };
    let mut branches = 0;
    for (open, close) in [("{%", "%}"), ("{{", "}}")] {
        for (start, _) in source.match_indices(open) {
            let rest = &source[start + 2..];
            let length = rest.find(close).unwrap_or(rest.len());
            if length > MAX_EXPRESSION {
                return fault(start, too_long(length));
            }
            if multiplies(rest, Some(close)) {
                return fault(start, NO_PRODUCTS.to_owned());
            }
            if open == "{{" {
                continue;
            }
            let rest = rest.trim_start_matches(['-', '+']).trim_start();
            let word: String = rest
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            if !["if", "elif", "else", "endif", "for", "endfor"].contains(&word.as_str()) {
                return fault(
                    start,
                    format!("`{{% {word} %}}` is not in the language: it knows `if` and `for`"),
                );
            }
            branches += usize::from(word == "elif");
            if branches > MAX_BRANCHES {
                return fault(start, format!("more than {MAX_BRANCHES} `elif`s"));
            }
        }
    }
    Ok(())
}

/// Refuses to grow past [`MAX_FILE`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_FILE {
            return Err(io::Error::other(format!(
                "the file grows past {MAX_FILE} bytes"
            )));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn at_line(error: &Error) -> String {
    match error.line() {
        Some(line) => format!("line {line}: {}", detail(error)),
        None => detail(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(source: &str) -> Result<String, String> {
        let scope = Scope::new([("params", json!({"port": 80, "list": [1], "text": "a\"b"}))]);
        File::compile(source)
            .and_then(|file| file.render(&scope))
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn files_encode_every_string() {
        assert_eq!(
            file("a: {{ params.text | json }}\nb: {{ params.port }}\n"),
            Ok("a: \"a\\\"b\"\nb: 80\n".to_owned())
        );
        assert_eq!(
            file("x\na: {{ params.text }}\n"),
            Err("line 2: a string without an encoder: write `| json`".to_owned())
        );
        assert_eq!(
            file("a: {{ params.list }}\n"),
            Err("line 1: sequence without an encoder: write `| json`".to_owned())
        );
        assert_eq!(
            file("{% for x in params.list %}\n- {{ x }}\n{% endfor %}\n"),
            Ok("- 1\n".to_owned())
        );
    }

    #[test]
    fn files_are_bounded() {
        let list = format!("[{}]", "1,".repeat(400));
        let each = |body: &str| format!("{{% for a in {list} %}}{body}{{% endfor %}}");
        assert_eq!(
            file(&each(&each(&each("{{ a }}")))),
            Err("line 1: takes more than 500000 steps".to_owned())
        );
        let text = format!("{{{{ '{}' | json }}}}", "x".repeat(1000));
        assert_eq!(
            file(&each(&text)),
            Err("the file grows past 262144 bytes".to_owned())
        );
        for product in ["a\n{{ 'x' * 9 }}", "a\n{% if [1] *9 %}{% endif %}"] {
            assert_eq!(
                file(product),
                Err("line 2: `*` is not in the language: it repeats strings and lists, which no fuel counts".to_owned())
            );
        }
        assert_eq!(
            file("{{ '* }} \\' *' | json }}").as_deref(),
            Ok(r#""* }} ' *""#)
        );
        assert_eq!(
            file("a\n{% set x = 1 %}"),
            Err("line 2: `{% set %}` is not in the language: it knows `if` and `for`".to_owned())
        );
    }

    #[test]
    fn what_would_take_the_stack_is_refused() {
        for hostile in [
            format!("{{{{ {}1 }}}}", "1+".repeat(20_000)),
            format!("{{% if {}1 %}}{{% endif %}}", "not ".repeat(20_000)),
            format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5_000)),
        ] {
            assert!(file(&hostile).is_err());
        }
        for bearable in [
            format!("{{{{ {}1 }}}}", "1+".repeat(500)),
            format!("{{% if {}1 %}}{{% endif %}}", "not ".repeat(250)),
            format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(64)),
        ] {
            assert!(file(&bearable).is_ok(), "{bearable}");
        }
    }
}
