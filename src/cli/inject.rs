//! `outrigger inject`: manifests in, manifests with their helpers out.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::output::{Ending, Printer};
use super::world::{World, WorldArgs};
use super::{Input, output};
use crate::inject::{self, Context, Decision, Operation, Outcome, Source, Verdict};
use crate::manifest::{self, Complaint, Document, Template};
use crate::yaml::{self, Step};

/// Add the helpers that Pods and Pod templates ask for
///
/// Reads any kind with a Pod template, Lists and multi-document streams; a document without one passes through untouched.
/// A changed document is written anew: comments in it are lost.
#[derive(Debug, Args)]
pub(super) struct InjectArgs {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    world: WorldArgs,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The documents, in their order
    Yaml,
    /// One object, or a List of them
    Json,
    /// A JSON Patch for each object that changes, one a line, for `kubectl patch --type=json`
    Patch,
    /// A unified diff for each object that changes
    Diff,
}

/// A document, and how it looks afterwards.
pub(super) struct Change {
    pub(super) document: Document,
    pub(super) after: Value,
    pub(super) patches: Vec<Vec<Operation>>,
}

pub(super) fn run(args: &InjectArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    let InjectArgs {
        input,
        world,
        output,
    } = args;
    let world = match World::read(world)? {
        Ok(world) => world,
        Err(complaints) => return Ok(printer.complaints(&complaints)),
    };
    let documents = match manifest::read(&input.filename)? {
        Ok(documents) => documents,
        Err(complaints) => return Ok(printer.complaints(&complaints)),
    };
    let mut changes = Vec::new();
    let mut complaints = Vec::new();
    for document in documents {
        let mut change = Change {
            after: document.value.clone(),
            document,
            patches: Vec::new(),
        };
        for template in manifest::templates(&change.document.value) {
            match apply(
                &world,
                &change.document,
                &template,
                &mut change.after,
                printer,
            )? {
                Ok(patch) => change.patches.extend(patch),
                Err(denials) => complaints.extend(denials),
            }
        }
        changes.push(change);
    }
    if !complaints.is_empty() {
        return Ok(printer.complaints(&complaints));
    }
    print(&changes, *output, printer)?;
    Ok(Ending::Done)
}

/// Injects one template of `document` into `after`; the patch is the object's, or `None` if nothing changes.
fn apply(
    world: &World,
    document: &Document,
    template: &Template,
    after: &mut Value,
    printer: &mut Printer,
) -> anyhow::Result<Result<Option<Vec<Operation>>, Vec<Complaint>>> {
    document
        .misplaced(template)
        .iter()
        .for_each(|complaint| printer.warning(&complaint.to_string()));
    let (title, outcome) = match decide(world, document, template) {
        Ok(found) => found,
        Err(complaint) => return Ok(Err(vec![complaint])),
    };
    let denials: Vec<_> = outcome
        .denials()
        .map(|decision| denial(document, template, decision))
        .collect();
    for decision in &outcome.decisions {
        // A Pod that is denied gets nothing, whatever else was decided.
        let news = denials.is_empty() || decision.verdict == Verdict::Skipped;
        if news {
            printer.note(&format!(
                "{title}: {} {} ({}): {}",
                decision.verdict,
                decision.instance,
                decision.reason.code(),
                decision.sentence
            ));
        }
        decision
            .warnings
            .iter()
            .for_each(|warning| printer.warning(&format!("{title}: {warning}")));
    }
    if !denials.is_empty() {
        return Ok(Err(denials));
    }
    if outcome.patch.is_empty() {
        return Ok(Ok(None));
    }
    let target = manifest::get_mut(after, &template.path()).context("the template is gone")?;
    let patch: json_patch::Patch =
        serde_json::from_slice(&outcome.patch.to_json()).context("the patch is not RFC 6902")?;
    json_patch::patch(target, &patch).context("the patch does not apply")?;
    let prefix = template.pointer();
    Ok(Ok(Some(
        outcome
            .patch
            .0
            .into_iter()
            .map(|operation| under(operation, &prefix))
            .collect(),
    )))
}

/// Runs `inject` on one template; the title is its object's.
pub(super) fn decide(
    world: &World,
    document: &Document,
    template: &Template,
) -> Result<(String, Outcome), Complaint> {
    let object = manifest::get(&document.value, &template.object).unwrap_or(&Value::Null);
    let pod = manifest::get(&document.value, &template.path()).unwrap_or(&Value::Null);
    let namespace = world.namespace_of(object);
    let context = Context {
        namespace: &namespace,
        catalog: world.catalog(),
    };
    match inject::inject(pod.to_string().as_bytes(), &context) {
        Ok(outcome) => Ok((manifest::title(object), outcome)),
        Err(error) => {
            let mut path = template.path();
            if let inject::Error::Shape { path: field, .. } = &error {
                path.extend(yaml::steps(field));
            }
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            Err(document.complain(&path, format!("{}: {text}", manifest::title(object))))
        }
    }
}

/// A denial at the annotation or label that caused it.
pub(super) fn denial(document: &Document, template: &Template, decision: &Decision) -> Complaint {
    let mut path = template.path();
    let key = match decision.wanter() {
        Some(Source::Pod(key)) => Some(key.as_str()),
        Some(Source::Status) => Some(crate::keys::STATUS),
        _ => None,
    };
    if let Some(key) = key {
        let field = if key == crate::keys::INJECTION {
            "labels"
        } else {
            "annotations"
        };
        path.extend(["metadata", field, key].map(|step| Step::Key(step.to_owned())));
    }
    document.complain(
        &path,
        format!("{} is denied: {}", document.title(), decision.sentence),
    )
}

fn under(operation: Operation, prefix: &str) -> Operation {
    let path = |path: String| format!("{prefix}{path}");
    match operation {
        Operation::Add { path: at, value } => Operation::Add {
            path: path(at),
            value,
        },
        Operation::Remove { path: at } => Operation::Remove { path: path(at) },
        Operation::Replace { path: at, value } => Operation::Replace {
            path: path(at),
            value,
        },
    }
}

/// Prints the documents as `format` wants them.
pub(super) fn print(
    changes: &[Change],
    format: Format,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    match format {
        Format::Yaml => {
            for (
                index,
                Change {
                    document, after, ..
                },
            ) in changes.iter().enumerate()
            {
                let mut text = if *after == document.value {
                    document.text.clone()
                } else {
                    yaml::write(after)?
                };
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                let separator = if index == 0 { "" } else { "---\n" };
                printer.data(&format!("{separator}{text}"))?;
            }
        }
        Format::Json => {
            let objects: Vec<&Value> = changes
                .iter()
                .map(|change| &change.after)
                .filter(|after| !after.is_null())
                .collect();
            let whole = match objects.as_slice() {
                [one] => (*one).clone(),
                many => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": many}),
            };
            printer.data(&format!("{whole:#}\n"))?;
        }
        Format::Patch => {
            for patch in changes.iter().flat_map(|change| &change.patches) {
                printer.data(&format!("{}\n", serde_json::to_string(patch)?))?;
            }
        }
        Format::Diff => {
            for Change {
                document, after, ..
            } in changes
            {
                printer.data(&diff(&document.value, after)?)?;
            }
        }
    }
    Ok(())
}

/// The two values as YAML, compared; empty if they are equal.
fn diff(before: &Value, after: &Value) -> anyhow::Result<String> {
    if before == after {
        return Ok(String::new());
    }
    let (old, new) = (yaml::write(before)?, yaml::write(after)?);
    let title = manifest::title(before).replace(' ', "/");
    let diff = similar::TextDiff::from_lines(&old, &new);
    let unified = diff
        .unified_diff()
        .context_radius(3)
        .header(&format!("a/{title}"), &format!("b/{title}"))
        .to_string();
    let mut text = String::new();
    for line in unified.lines() {
        let coloured = match line.as_bytes().first() {
            Some(b'+') => format!("\x1b[32m{line}\x1b[0m"),
            Some(b'-') => format!("\x1b[31m{line}\x1b[0m"),
            Some(b'@') => output::bold(line),
            _ => line.to_owned(),
        };
        text.push_str(&coloured);
        text.push('\n');
    }
    Ok(text)
}
