//! `outrigger explain`: each candidate, from where, what became of it and why, and which parameter came from which layer.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::output::{Ending, Printer, bold, table};
use super::world::{World, WorldArgs};
use crate::inject::{Decision, Interposed, Outcome, Record, Source, Verdict};
use crate::manifest;

use crate::text::{excerpt, plain};

mod live;

/// Say what would be injected, and why, or why not
///
/// Of manifests (`-f FILE`), or of a Pod of the cluster (`pod/NAME`): then also whether the API server would call us for it.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A Pod of the cluster: `pod/NAME`
    #[arg(value_name = "pod/NAME", conflicts_with_all = ["filename", "context", "home"])]
    target: Option<String>,
    /// Files, directories, or `-` for standard input
    #[arg(short, long, value_name = "FILE", required_unless_present = "target", num_args = 1..)]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    world: WorldArgs,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// What is said of one Pod or template: for people, for machines.
struct Explained {
    text: String,
    value: Value,
}

fn explanation(title: &str, namespace: &str, outcome: &Outcome) -> Explained {
    let decisions: Vec<_> = outcome.decisions.iter().map(decision_json).collect();
    Explained {
        text: text(title, namespace, outcome),
        value: json!({"object": title, "namespace": namespace, "decisions": decisions}),
    }
}

pub(super) fn run(args: &ExplainArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    if let Some(target) = &args.target {
        let explained = live::explain(target, args.world.namespace(), args.world.image_registry())?;
        print(args.output, vec![explained], printer)?;
        return Ok(Ending::Done);
    }
    let world = match World::read(&args.world)? {
        Ok(world) => world,
        Err(complaints) => return Ok(printer.complaints(&complaints)),
    };
    let documents = match manifest::read(&args.filename)? {
        Ok(documents) => documents,
        Err(complaints) => return Ok(printer.complaints(&complaints)),
    };
    let mut ending = Ending::Done;
    let mut all = Vec::new();
    for document in &documents {
        for template in manifest::templates(&document.value) {
            document
                .misplaced(&template)
                .iter()
                .for_each(|complaint| printer.warning(&complaint.to_string()));
            let (title, outcome) = match super::inject::decide(&world, document, &template) {
                Ok(found) => found,
                Err(complaint) => {
                    ending = printer.complaints(&[complaint]);
                    continue;
                }
            };
            let object = manifest::get(&document.value, &template.object).unwrap_or(&Value::Null);
            all.push(explanation(
                &title,
                &world.namespace_of(object).name,
                &outcome,
            ));
            let denials: Vec<_> = outcome
                .denials()
                .map(|decision| super::inject::denial(document, &template, decision))
                .collect();
            if !denials.is_empty() {
                ending = printer.complaints(&denials);
            }
        }
    }
    print(args.output, all, printer)?;
    Ok(ending)
}

fn print(format: Format, all: Vec<Explained>, printer: &mut Printer) -> std::io::Result<()> {
    let (texts, values): (Vec<_>, Vec<_>) = all
        .into_iter()
        .map(|Explained { text, value }| (text, value))
        .unzip();
    match format {
        Format::Table => printer.data(&texts.join("\n")),
        Format::Json => printer.data(&format!("{:#}\n", Value::Array(values))),
    }
}

/// The whole explanation of one Pod template.
fn text(title: &str, namespace: &str, outcome: &Outcome) -> String {
    let denied = if outcome.denials().next().is_some() {
        ": denied, nothing is injected"
    } else {
        ""
    };
    let mut text = format!("{} in namespace {namespace}{denied}\n", bold(title));
    if outcome.decisions.is_empty() {
        text.push_str("  nothing asks for a helper, and nothing offers one\n");
        return text;
    }
    let mut rows = vec![
        ["INSTANCE", "ROLE", "FROM", "DECISION", "REASON"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for decision in &outcome.decisions {
        let role = decision
            .role
            .map(|role| role.to_string())
            .unwrap_or_default();
        let from = decision
            .sources
            .iter()
            .map(Source::short)
            .collect::<Vec<_>>()
            .join(", ");
        rows.push(vec![
            decision.instance.clone(),
            role,
            from,
            decision.verdict.to_string(),
            decision.reason.code().to_owned(),
        ]);
    }
    text.push_str(&table(&rows, 2));
    for decision in &outcome.decisions {
        text.push_str(&details(
            decision,
            is_outermost(decision, &outcome.decisions),
        ));
    }
    text
}

fn details(decision: &Decision, outermost: bool) -> String {
    let mut text = format!("\n  {}: {}\n", bold(&decision.instance), decision.sentence);
    for warning in &decision.warnings {
        text.push_str(&format!("    warning: {warning}\n"));
    }
    if let Some(pattern) = &decision.pattern {
        text.push_str(&format!("    pattern: {pattern}\n"));
    }
    let rows: Vec<Vec<String>> = parameters(decision)
        .into_iter()
        .map(|(name, value, source)| vec![name, excerpt(&plain(&value), 60), format!("({source})")])
        .collect();
    if !rows.is_empty() {
        text.push_str("    parameters:\n");
        text.push_str(&table(&rows, 6));
    }
    if let (Some(record), Verdict::Injected | Verdict::Carried) =
        (&decision.record, decision.verdict)
    {
        text.push_str(if decision.verdict == Verdict::Injected {
            "    adds:\n"
        } else {
            "    has added:\n"
        });
        for line in additions(&decision.instance, record, outermost) {
            text.push_str(&format!("      {line}\n"));
        }
    }
    text
}

/// True if no other interposer of the Pod sends to this one.
fn is_outermost(decision: &Decision, all: &[Decision]) -> bool {
    let listen = decision
        .record
        .as_ref()
        .and_then(|record| record.interpose.as_ref())
        .map(|interposed| interposed.listen);
    let upstreams = all
        .iter()
        .filter_map(|other| other.record.as_ref()?.interpose.as_ref())
        .map(|interposed| interposed.upstream);
    listen.is_some_and(|listen| !upstreams.into_iter().any(|upstream| upstream == listen))
}

/// Each parameter, its value and the layer that gave it, or the layers where mappings were merged; for a candidate that was not rendered, what the layers say.
fn parameters(decision: &Decision) -> Vec<(String, Value, String)> {
    let source = |name: &str| {
        let mut from: Vec<String> = Vec::new();
        for layer in &decision.layers {
            match layer.params.get(name) {
                None => {}
                // Null means: back to the default.
                Some(Value::Null) => from.clear(),
                Some(Value::Object(_)) => from.push(layer.source.short()),
                Some(_) => from = vec![layer.source.short()],
            }
        }
        if from.is_empty() {
            "default".to_owned()
        } else {
            from.join(", ")
        }
    };
    let mut all = decision.params.clone();
    for layer in &decision.layers {
        for (name, value) in &layer.params {
            if decision.params.is_empty() || ["into", "override"].contains(&name.as_str()) {
                all.insert(name.clone(), value.clone());
            }
        }
    }
    all.into_iter()
        .map(|(name, value)| {
            let from = source(&name);
            (name, value, from)
        })
        .collect()
}

fn additions(instance: &str, record: &Record, outermost: bool) -> Vec<String> {
    let Record {
        containers,
        volumes,
        image_pull_secrets,
        annotations,
        labels,
        env,
        mounts,
        ports,
        interpose,
        ..
    } = record;
    let mut lines = Vec::new();
    let mut line = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            let plural = if names.len() == 1 { "" } else { "s" };
            lines.push(format!("{what}{plural} {}", names.join(", ")));
        }
    };
    line("container", containers.clone());
    line("volume", volumes.clone());
    line("image pull secret", image_pull_secrets.clone());
    line(
        "annotation",
        record
            .file_keys(instance)
            .chain(annotations.iter().cloned())
            .collect(),
    );
    line("label", labels.clone());
    for (container, names) in env {
        line(&format!("container {container}: variable"), names.clone());
    }
    for (container, paths) in mounts {
        line(&format!("container {container}: mount"), paths.clone());
    }
    line(
        "given port",
        ports
            .iter()
            .map(|(name, port)| format!("{name}={port}"))
            .collect(),
    );
    if let Some(Interposed {
        container,
        port,
        name,
        listen,
        upstream,
        ..
    }) = interpose
    {
        let port_name = name
            .as_ref()
            .map_or_else(|| port.to_string(), |name| format!("{name} ({port})"));
        let target = name.clone().unwrap_or_else(|| listen.to_string());
        let by_name = if name.is_some() {
            ", not by a number"
        } else {
            ""
        };
        let reach = if outermost {
            format!("; a Service reaches it by `targetPort: {target}`{by_name}")
        } else {
            String::new()
        };
        lines.push(format!("stands before port {port_name} of {container}: listens on {listen}, sends to {upstream}{reach}"));
    }
    lines
}

fn decision_json(decision: &Decision) -> Value {
    let Decision {
        instance,
        role,
        pattern,
        sources,
        layers: _,
        params: _,
        verdict,
        reason,
        sentence,
        warnings,
        record,
    } = decision;
    let parameters: Vec<_> = parameters(decision)
        .into_iter()
        .map(|(name, value, source)| json!({"name": name, "value": value, "from": source}))
        .collect();
    json!({
        "instance": instance,
        "role": role,
        "pattern": pattern,
        "sources": sources.iter().map(Source::short).collect::<Vec<_>>(),
        "decision": verdict,
        "reason": reason,
        "message": sentence,
        "warnings": warnings,
        "parameters": parameters,
        "added": record,
    })
}
