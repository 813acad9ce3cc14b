//! `outrigger lint`: patterns and bindings, checked as the server would check them, and then some.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::output::{Ending, Printer};
use super::world::complaint;
use crate::binding::Binding;
use crate::catalog::{Catalog, Place};
use crate::keys;
use crate::manifest::{self, Complaint, Document};
use crate::pattern::{Fault, Pattern, advice};
use crate::text::suggestion;

/// Check patterns and bindings: schema, a trial rendering, Pod rules, Pod Security, literal secrets, probes that deadlock
///
/// Errors are what the server would refuse, and end with exit code 1; warnings are advice.
#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// Files or directories
    #[arg(value_name = "FILE", required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
    /// Outrigger's own namespace, where objects that name none belong
    #[arg(long, value_name = "NAME", default_value = keys::HOME_NAMESPACE)]
    home: String,
}

pub(super) fn run(args: &LintArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    let documents = match manifest::read(&args.paths)? {
        Ok(documents) => documents,
        Err(complaints) => return Ok(printer.complaints(&complaints)),
    };
    let mut lint = Lint {
        catalog: Catalog::at(&args.home),
        errors: Vec::new(),
        warnings: Vec::new(),
        checked: 0,
    };
    // Patterns first: bindings are held against them.
    let (patterns, rest): (Vec<_>, Vec<_>) = documents
        .iter()
        .partition(|document| is(document, "Pattern"));
    patterns
        .into_iter()
        .for_each(|document| lint.pattern(document));
    rest.into_iter()
        .filter(|document| is(document, "PatternBinding"))
        .for_each(|document| lint.binding(document));
    let Lint {
        errors,
        warnings,
        checked,
        ..
    } = lint;
    warnings
        .iter()
        .for_each(|warning| printer.warning(&warning.to_string()));
    let plural = if checked == 1 { "" } else { "s" };
    printer.note(&format!(
        "{checked} object{plural} checked: {} errors, {} warnings",
        errors.len(),
        warnings.len()
    ));
    if checked == 0 {
        printer.error("there is no Pattern and no PatternBinding among the documents");
        return Ok(Ending::WrongInput);
    }
    Ok(if errors.is_empty() {
        Ending::Done
    } else {
        printer.complaints(&errors)
    })
}

fn is(document: &Document, kind: &str) -> bool {
    let text = |key: &str| document.value.get(key).and_then(Value::as_str);
    text("apiVersion") == Some(keys::API_VERSION) && text("kind") == Some(kind)
}

struct Lint {
    catalog: Catalog,
    errors: Vec<Complaint>,
    warnings: Vec<Complaint>,
    checked: usize,
}

impl Lint {
    fn namespace(&self, document: &Document) -> String {
        let own = document
            .value
            .get("metadata")
            .and_then(|metadata| metadata.get("namespace"))
            .and_then(Value::as_str);
        own.unwrap_or(&self.catalog.home).to_owned()
    }

    fn pattern(&mut self, document: &Document) {
        self.checked += 1;
        match Pattern::load(&document.value, Place::Namespace(self.namespace(document))) {
            Err(faults) => self
                .errors
                .extend(faults.iter().map(|fault| complaint(document, fault))),
            Ok(pattern) => {
                self.warnings.extend(
                    advice(&pattern.spec)
                        .iter()
                        .map(|fault| complaint(document, fault)),
                );
                self.catalog.add_pattern(pattern);
            }
        }
    }

    /// Besides what the server checks: is the pattern known, and would the parameters fit it as far as they go?
    fn binding(&mut self, document: &Document) {
        self.checked += 1;
        let namespace = self.namespace(document);
        let binding = match Binding::load(&document.value, &namespace, &self.catalog.home) {
            Ok(binding) => binding,
            Err(faults) => {
                self.errors
                    .extend(faults.iter().map(|fault| complaint(document, fault)));
                return;
            }
        };
        let Some(pattern) = self.catalog.find(&binding.spec.pattern, &namespace) else {
            let known = self.catalog.patterns(&namespace);
            let near = suggestion(
                &binding.spec.pattern,
                known.iter().map(|pattern| pattern.name.as_str()),
            );
            let fault = Fault {
                path: "spec.pattern".to_owned(),
                message: format!("there is no pattern `{}` here{near}", binding.spec.pattern),
            };
            self.warnings.push(complaint(document, &fault));
            return;
        };
        for name in binding.spec.params.keys().chain(&binding.spec.pod_may_set) {
            if !pattern
                .schema
                .names()
                .chain(["into", "override"])
                .any(|known| known == name)
            {
                let near = suggestion(name, pattern.schema.names());
                let fault = Fault {
                    path: "spec.params".to_owned(),
                    message: format!("`{name}` is not a parameter of `{}`{near}", pattern.name),
                };
                self.errors.push(complaint(document, &fault));
            }
        }
    }
}
