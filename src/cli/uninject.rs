//! `outrigger uninject`: takes out what the status records.

use clap::Args;

use super::Input;
use super::inject::{Change, Format, print};
use super::output::{Ending, Printer};
use crate::manifest;

/// Take out exactly what `outrigger.dev/status` says was put in
#[derive(Debug, Args)]
pub(super) struct UninjectArgs {
    #[command(flatten)]
    input: Input,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// The documents, in their order
    Yaml,
    /// One object, or a List of them
    Json,
    /// A unified diff for each object that changes
    Diff,
}

pub(super) fn run(args: &UninjectArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    let documents = match manifest::read(&args.input.filename)? {
        Ok(documents) => documents,
        Err(complaints) => return Ok(printer.complaints(&complaints)),
    };
    let mut changes = Vec::new();
    let mut complaints = Vec::new();
    for document in documents {
        let mut after = document.value.clone();
        for template in manifest::templates(&document.value) {
            let Some(pod) = manifest::get_mut(&mut after, &template.path()) else {
                continue;
            };
            let title = manifest::get(&document.value, &template.object)
                .map(manifest::title)
                .unwrap_or_default();
            match crate::inject::uninject(pod) {
                Ok(instances) => instances
                    .iter()
                    .for_each(|instance| printer.note(&format!("{title}: took out {instance}"))),
                Err(sentence) => {
                    let mut path = template.path();
                    path.extend(
                        ["metadata", "annotations", crate::keys::STATUS]
                            .map(|step| crate::yaml::Step::Key(step.to_owned())),
                    );
                    complaints.push(document.complain(&path, format!("{title}: {sentence}")));
                }
            }
        }
        changes.push(Change {
            document,
            after,
            patches: Vec::new(),
        });
    }
    if !complaints.is_empty() {
        return Ok(printer.complaints(&complaints));
    }
    let format = match args.output {
        Output::Yaml => Format::Yaml,
        Output::Json => Format::Json,
        Output::Diff => Format::Diff,
    };
    print(&changes, format, printer)?;
    Ok(Ending::Done)
}
