//! `matchConditions`: CEL over `object` (the Pod) and `namespaceObject`.
//!
//! The functions below work, and no others: an expression that names another one is refused at load, so that a condition cannot
//! fail later because our CEL is not the API server's. `docs/bindings.md` lists them for users.

use std::cell::OnceCell;

use cel::common::ast::{EntryExpr, Expr, operators};
use cel::{Context, IdedExpr, Program, Value as CelValue};
use serde_json::{Value, json};

use crate::kubernetes::namespace::Namespace;
use crate::kubernetes::pod::Pod;
use crate::pattern::Fault;

/// Functions and macros that conditions may call.
pub const FUNCTIONS: &[&str] = &[
    "all",
    "contains",
    "endsWith",
    "exists",
    "exists_one",
    "filter",
    "has",
    "int",
    "map",
    "matches",
    "size",
    "startsWith",
    "string",
];

/// Operators, under the names that the parser gives them.
const OPERATORS: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::NOT_STRICTLY_FALSE,
    operators::IN,
];

/// Longest expression, in bytes; with [`MAX_NESTING`] it bounds what a condition costs.
const MAX_LENGTH: usize = 2048;
/// How deep brackets may nest. The parser recurses, some twenty calls a bracket, and the stack is ours.
const MAX_BRACKETS: usize = 8;
/// Arithmetic, comparisons, ternaries and index operators in one expression: the evaluator recurses over them. Logic is a loop.
const MAX_OPERATORS: usize = 40;
/// How deep comprehensions may nest: containers, and one of their lists.
const MAX_NESTING: usize = 2;

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    /// As written, for explanations.
    pub name: String,
    program: Program,
}

impl Condition {
    /// Compiles `expression`.
    pub fn compile(name: &str, expression: &str) -> Result<Self, Fault> {
        let fault = |message: String| Err(Fault::new("expression", message));
        if expression.len() > MAX_LENGTH {
            return fault(format!(
                "the expression is {} bytes long, expected at most {MAX_LENGTH}",
                expression.len()
            ));
        }
        let (nesting, operators) = weight(expression);
        if nesting > MAX_BRACKETS {
            return fault(format!(
                "brackets nest {nesting} deep, expected at most {MAX_BRACKETS}"
            ));
        }
        if operators > MAX_OPERATORS {
            return fault(format!(
                "{operators} operators, expected at most {MAX_OPERATORS}: split the condition in two"
            ));
        }
        let program = match Program::compile(expression) {
            Ok(program) => program,
            Err(error) => return fault(format!("not CEL: {}", first_line(&error.to_string()))),
        };
        let mut audit = Audit {
            bound: Vec::new(),
            nesting: 0,
        };
        audit
            .expression(program.expression())
            .map_err(|message| Fault::new("expression", message))?;
        Ok(Self {
            name: name.to_owned(),
            program,
        })
    }
}

fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("ERROR: ")
        .to_owned()
}

/// How deep brackets nest, and how many operators there are that the evaluator recurses over; strings left out.
fn weight(expression: &str) -> (usize, usize) {
    let (mut open, mut deepest, mut operators) = (0_usize, 0, 0);
    let mut quote = None;
    let mut before = ' ';
    for character in expression.chars() {
        match quote {
            Some(mark) if character == mark && before != '\\' => quote = None,
            None if character == '\'' || character == '"' => quote = Some(character),
            None if "([{".contains(character) => open += 1,
            None if ")]}".contains(character) => open = open.saturating_sub(1),
            Some(_) | None => {}
        }
        let counts = quote.is_none()
            && "+-*/%<>?[=".contains(character)
            && !(character == '=' && "=!<>".contains(before));
        operators += usize::from(counts);
        deepest = deepest.max(open);
        before = if before == '\\' && character == '\\' {
            ' '
        } else {
            character
        };
    }
    (deepest, operators)
}

/// Walks an expression for names that nobody provides, functions that are not ours, and depth.
struct Audit<'e> {
    /// Variables of the comprehensions around.
    bound: Vec<&'e str>,
    nesting: usize,
}

impl<'e> Audit<'e> {
    fn expression(&mut self, tree: &'e IdedExpr) -> Result<(), String> {
        match &tree.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name)
                if ["object", "namespaceObject"].contains(&name.as_str())
                    || self.bound.contains(&name.as_str()) =>
            {
                Ok(())
            }
            Expr::Ident(name) => Err(format!(
                "`{name}` is not known here, expected `object` or `namespaceObject`"
            )),
            Expr::Select(select) => self.expression(&select.operand),
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                let operator = OPERATORS.contains(&name);
                if !operator && !FUNCTIONS.contains(&name) {
                    return Err(format!(
                        "the function `{name}` is not supported{}",
                        crate::text::suggestion(name, FUNCTIONS.iter().copied())
                    ));
                }
                call.target
                    .iter()
                    .try_for_each(|target| self.expression(target))?;
                call.args
                    .iter()
                    .try_for_each(|argument| self.expression(argument))
            }
            Expr::List(list) => list
                .elements
                .iter()
                .try_for_each(|element| self.expression(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self
                    .expression(&entry.key)
                    .and_then(|()| self.expression(&entry.value)),
                EntryExpr::StructField(field) => self.expression(&field.value),
            }),
            Expr::Struct(object) => {
                Err(format!("the type `{}` is not supported", object.type_name))
            }
            Expr::Comprehension(comprehension) => {
                if self.nesting == MAX_NESTING {
                    return Err(format!("comprehensions nest deeper than {MAX_NESTING}"));
                }
                self.expression(&comprehension.iter_range)?;
                self.expression(&comprehension.accu_init)?;
                let before = self.bound.len();
                self.bound.push(&comprehension.iter_var);
                self.bound.extend(comprehension.iter_var2.as_deref());
                self.bound.push(&comprehension.accu_var);
                self.nesting += 1;
                for part in [
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ] {
                    self.expression(part)?;
                }
                self.nesting -= 1;
                self.bound.truncate(before);
                Ok(())
            }
        }
    }
}

/// What conditions look at, made once for all bindings and only if one has conditions.
pub(crate) struct Subject<'a> {
    pod: &'a Pod<'a>,
    namespace: &'a Namespace,
    context: OnceCell<Option<Context<'static, 'static>>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(pod: &'a Pod<'a>, namespace: &'a Namespace) -> Self {
        Self {
            pod,
            namespace,
            context: OnceCell::new(),
        }
    }

    /// True or false; `None` where the expression fails or gives neither.
    pub(crate) fn satisfies(&self, condition: &Condition) -> Option<bool> {
        let context = self.context.get_or_init(|| self.read()).as_ref()?;
        match condition.program.execute(context) {
            Ok(CelValue::Bool(verdict)) => Some(verdict),
            _ => None,
        }
    }

    fn read(&self) -> Option<Context<'static, 'static>> {
        let Namespace {
            name,
            labels,
            annotations,
        } = self.namespace;
        let namespace: Value =
            json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}});
        let mut context = Context::default();
        context.add_variable_from_value("object", cel::to_value(self.pod.value()).ok()?);
        context.add_variable_from_value("namespaceObject", cel::to_value(namespace).ok()?);
        Some(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(expression: &str) -> Option<bool> {
        let pod = Pod::read(br#"{"metadata":{"name":"p","labels":{"app":"shop","n":"7"}},"spec":{"containers":[{"name":"a","image":"redis:7","ports":[{"containerPort":6379}]},{"name":"b","image":"nginx"}]}}"#).unwrap();
        let namespace = Namespace {
            name: "shop".to_owned(),
            labels: [("tier".to_owned(), "web".to_owned())].into(),
            ..Namespace::default()
        };
        Subject::new(&pod, &namespace).satisfies(&Condition::compile("c", expression).unwrap())
    }

    /// One expression a function, and the operators.
    #[test]
    fn every_documented_function_works() {
        for (function, expression) in [
            (
                "exists",
                "object.spec.containers.exists(c, c.image.startsWith('redis:'))",
            ),
            ("all", "object.spec.containers.all(c, has(c.name))"),
            (
                "exists_one",
                "object.spec.containers.exists_one(c, c.name == 'a')",
            ),
            (
                "filter",
                "size(object.spec.containers.filter(c, c.name == 'a')) == 1",
            ),
            ("map", "object.spec.containers.map(c, c.name) == ['a', 'b']"),
            ("has", "!has(object.spec.hostNetwork)"),
            ("size", "object.spec.containers.size() == 2"),
            ("startsWith", "object.metadata.name.startsWith('p')"),
            ("endsWith", "object.metadata.name.endsWith('p')"),
            ("contains", "object.metadata.labels.app.contains('ho')"),
            (
                "matches",
                "object.spec.containers[0].image.matches('^redis:[0-9]+$')",
            ),
            (
                "string",
                "string(object.spec.containers[0].ports[0].containerPort) == '6379'",
            ),
            (
                "int",
                "int(object.metadata.labels['n']) > 6 && int('8') != 7",
            ),
            (
                "operators",
                "('app' in object.metadata.labels) ? (1 + 2 * 3 - 4 / 2) % 5 == 0 || false : false",
            ),
            (
                "nested",
                "object.spec.containers.exists(c, has(c.ports) && c.ports.exists(p, p.containerPort == 6379))",
            ),
            (
                "namespaceObject",
                "namespaceObject.metadata.labels.tier == 'web' && namespaceObject.metadata.name == 'shop'",
            ),
        ] {
            assert_eq!(judge(expression), Some(true), "{function}: {expression}");
        }
        for function in FUNCTIONS {
            assert!(!function.is_empty());
        }
    }

    /// What is let through is evaluated on a thread's stack.
    #[test]
    fn the_longest_that_are_allowed_work() {
        for (longest, expected) in [
            (format!("{}1 > 0", "1 + ".repeat(39)), Some(true)),
            (format!("{}true", "false || ".repeat(200)), Some(true)),
            (format!("{}true", "!".repeat(1000)), Some(true)),
            (
                format!("{}true{}", "(".repeat(8), ")".repeat(8)),
                Some(true),
            ),
            (format!("object{} == 1", "[0]".repeat(39)), None),
            (format!("object{}", ".a".repeat(1000)), None),
        ] {
            assert_eq!(judge(&longest), expected, "{longest}");
        }
    }

    #[test]
    fn failing_is_neither_true_nor_false() {
        assert_eq!(judge("object.spec.nope == 1"), None);
        assert_eq!(judge("object.metadata.name"), None);
        assert_eq!(judge("1 / 0 == 1"), None);
    }

    #[test]
    fn what_does_not_work_is_refused_at_load() {
        let fault = |expression: &str| Condition::compile("c", expression).unwrap_err().message;
        assert_eq!(
            fault("object.metadata.name.startWith('a')"),
            "the function `startWith` is not supported: did you mean `startsWith`?"
        );
        assert_eq!(
            fault("quantity('1Mi').isGreaterThan(quantity('1Ki'))"),
            "the function `isGreaterThan` is not supported"
        );
        assert_eq!(
            fault("request.userInfo.username == 'a'"),
            "`request` is not known here, expected `object` or `namespaceObject`"
        );
        assert_eq!(
            fault("oldObject == null"),
            "`oldObject` is not known here, expected `object` or `namespaceObject`"
        );
        assert!(fault("object.(").starts_with("not CEL: "));
        assert_eq!(
            fault(&"a".repeat(5000)),
            "the expression is 5000 bytes long, expected at most 2048"
        );
        assert_eq!(
            fault(&"(".repeat(100)),
            "brackets nest 100 deep, expected at most 8"
        );
        assert_eq!(
            fault(&"(')'==''||".repeat(20)),
            "brackets nest 20 deep, expected at most 8"
        );
        for deep in ["1 + ", "- ", "true?true:", "object[0]=="] {
            let sentence = fault(&format!("{}true", deep.repeat(100)));
            assert!(
                sentence.ends_with("operators, expected at most 40: split the condition in two"),
                "{sentence}"
            );
        }
        assert_eq!(
            fault("object.a.all(x, object.a.all(y, object.a.all(z, x == y)))"),
            "comprehensions nest deeper than 2"
        );
    }
}
