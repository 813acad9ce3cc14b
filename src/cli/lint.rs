//! `outrigger lint`: patterns and bindings, checked as the server would check them, and then some.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::output::{Ending, Printer};
use crate::binding::Binding;
use crate::catalog::fit::Misfit;
use crate::catalog::{Catalog, Place};
use crate::keys;
use crate::manifest::{self, Complaint, Object};
use crate::pattern::{Fault, Pattern, advice};
use crate::text::{counted, suggestion};
use crate::world::complaint;

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
    let objects: Vec<_> = documents.iter().flat_map(manifest::objects).collect();
    lint.errors.extend(objects.iter().filter_map(unknown_kind));
    objects
        .iter()
        .filter(|object| object.is(keys::API_VERSION, "Pattern"))
        .for_each(|object| lint.pattern(object));
    objects
        .iter()
        .filter(|object| object.is(keys::API_VERSION, "PatternBinding"))
        .for_each(|object| lint.binding(object));
    let Lint {
        errors,
        warnings,
        checked,
        ..
    } = lint;
    warnings
        .iter()
        .for_each(|warning| printer.warning(&warning.to_string()));
    let nothing = checked == 0 && errors.is_empty();
    let ending = if errors.is_empty() {
        Ending::Done
    } else {
        printer.complaints(&errors)
    };
    printer.note(&format!(
        "{} checked: {}, {}",
        counted(checked, "object"),
        counted(errors.len(), "error"),
        counted(warnings.len(), "warning")
    ));
    if nothing {
        printer.error("there is no Pattern and no PatternBinding among the documents");
        return Ok(Ending::WrongInput);
    }
    Ok(ending)
}

/// An object of our group that is of no kind of ours: misspelt, or of another version.
fn unknown_kind(object: &Object<'_>) -> Option<Complaint> {
    let text = |key: &str| {
        object
            .value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version.split('/').next() != Some(keys::GROUP) {
        return None;
    }
    let kinds = ["Pattern", "PatternBinding"];
    let (path, message) = if version != keys::API_VERSION {
        (
            "apiVersion",
            format!("`{version}` is not known, expected `{}`", keys::API_VERSION),
        )
    } else if kinds.contains(&kind) {
        return None;
    } else {
        (
            "kind",
            format!(
                "`{kind}` is no kind of {}{}",
                keys::API_VERSION,
                suggestion(kind, kinds)
            ),
        )
    };
    Some(complaint(
        object,
        &Fault {
            path: path.to_owned(),
            message,
        },
    ))
}

struct Lint {
    catalog: Catalog,
    errors: Vec<Complaint>,
    warnings: Vec<Complaint>,
    checked: usize,
}

impl Lint {
    fn namespace(&self, object: &Object<'_>) -> String {
        object.namespace().unwrap_or(&self.catalog.home).to_owned()
    }

    fn pattern(&mut self, object: &Object<'_>) {
        self.checked += 1;
        match Pattern::load(object.value, Place::Namespace(self.namespace(object))) {
            Err(faults) => self
                .errors
                .extend(faults.iter().map(|fault| complaint(object, fault))),
            Ok(pattern) => {
                self.warnings.extend(
                    advice(&pattern.spec)
                        .iter()
                        .map(|fault| complaint(object, fault)),
                );
                self.catalog.add_pattern(pattern);
            }
        }
    }

    /// Besides what the server checks: is the pattern known, and would the parameters fit it as far as they go?
    fn binding(&mut self, object: &Object<'_>) {
        self.checked += 1;
        let namespace = self.namespace(object);
        let binding = match Binding::load(object.value, &namespace, &self.catalog.home) {
            Ok(binding) => binding,
            Err(faults) => {
                self.errors
                    .extend(faults.iter().map(|fault| complaint(object, fault)));
                return;
            }
        };
        match self.catalog.misfit(&binding) {
            None => {}
            // It may be in another file, or in the cluster.
            Some(Misfit::NoPattern(fault)) => self.warnings.push(complaint(object, &fault)),
            Some(Misfit::Parameters(faults)) => {
                let complaints = faults.iter().map(|fault| complaint(object, fault));
                self.errors.extend(complaints);
            }
        }
    }
}
