//! `outrigger catalog`: which patterns there are, and what they take.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::output::{Ending, Printer, bold, table};
use super::world::{World, WorldArgs};
use crate::pattern::Pattern;
use crate::text::{plain, suggestion};
use crate::yaml;

/// List the patterns, or show one with its parameters
#[derive(Debug, Args)]
pub(super) struct CatalogArgs {
    #[command(subcommand)]
    verb: CatalogVerb,
}

#[derive(Debug, Subcommand)]
enum CatalogVerb {
    /// List the patterns that a Pod can name
    List {
        #[command(flatten)]
        world: WorldArgs,
        /// What to print
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Show one pattern and its parameters
    Show {
        /// The pattern's name
        name: String,
        #[command(flatten)]
        world: WorldArgs,
        /// What to print
        #[arg(short, long, value_enum, default_value_t = ShowFormat::Table)]
        output: ShowFormat,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Markdown,
}

/// What `show` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShowFormat {
    Table,
    Json,
    Markdown,
    /// The Role and RoleBinding that the helpers need, for `kubectl apply`
    Rbac,
}

pub(super) fn run(args: &CatalogArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    let (CatalogVerb::List { world, .. } | CatalogVerb::Show { world, .. }) = &args.verb;
    let world = match World::read(world)? {
        Ok(world) => world,
        Err(complaints) => return Ok(printer.complaints(&complaints)),
    };
    let patterns = world.catalog().patterns(world.default_namespace());
    match &args.verb {
        CatalogVerb::List { output, .. } => printer.data(&list(&patterns, *output))?,
        CatalogVerb::Show { name, output, .. } => {
            if let Some(pattern) = patterns.iter().find(|pattern| pattern.name == *name) {
                printer.data(&show(pattern, *output)?)?;
            } else {
                let near = suggestion(name, patterns.iter().map(|pattern| pattern.name.as_str()));
                let hint = if near.is_empty() {
                    "; `outrigger catalog list` shows those there are"
                } else {
                    &near
                };
                printer.error(&format!("there is no pattern `{name}`{hint}"));
                return Ok(Ending::WrongInput);
            }
        }
    }
    Ok(Ending::Done)
}

fn list(patterns: &[&std::sync::Arc<Pattern>], format: Format) -> String {
    let row = |pattern: &Pattern| {
        vec![
            pattern.name.clone(),
            pattern.spec.role.to_string(),
            pattern.place.to_string(),
            pattern.spec.summary.clone(),
        ]
    };
    let header = ["NAME", "ROLE", "FROM", "SUMMARY"]
        .map(str::to_owned)
        .to_vec();
    let rows: Vec<_> = std::iter::once(header)
        .chain(patterns.iter().map(|pattern| row(pattern)))
        .collect();
    match format {
        Format::Table => table(&rows, 0),
        Format::Markdown => markdown(
            &rows
                .iter()
                .map(|row| vec![row[0].clone(), row[1].clone(), row[3].clone()])
                .collect::<Vec<_>>(),
        ),
        Format::Json => format!(
            "{:#}\n",
            patterns
                .iter()
                .map(|pattern| summary(pattern))
                .collect::<Value>()
        ),
    }
}

fn show(pattern: &Pattern, format: ShowFormat) -> anyhow::Result<String> {
    Ok(match format {
        ShowFormat::Rbac => rbac(pattern)?,
        ShowFormat::Json => {
            let mut value = summary(pattern);
            value["params"] = pattern.schema.source().clone();
            value["spec"] = serde_json::to_value(&pattern.spec).unwrap_or_default();
            format!("{value:#}\n")
        }
        ShowFormat::Table => {
            let spec = &pattern.spec;
            let mut text = format!(
                "{} ({}): {}\n\n",
                bold(&pattern.name),
                spec.role,
                spec.summary
            );
            text.push_str(&format!("{}\n", bold("use")));
            text.push_str(&format!(
                "  {}.{}/{}: \"{}\"\n\n",
                spec.role,
                crate::keys::GROUP,
                pattern.name,
                example(pattern)
            ));
            text.push_str(&format!("{}\n", bold("parameters")));
            text.push_str(&table(&parameters(pattern), 2));
            let images: Vec<_> = spec
                .containers
                .iter()
                .chain(&spec.init_containers)
                .filter_map(|container| container.get("image").map(plain))
                .collect();
            text.push_str(&format!(
                "\n{}\n  {}\n",
                bold("images"),
                images.join("\n  ")
            ));
            if !spec.permissions.is_empty() {
                text.push_str(&format!(
                    "\n{}\n  {}\n  outrigger catalog show {} -o rbac | kubectl apply --namespace NAMESPACE -f -\n",
                    bold("permissions"),
                    "the Pod's service account needs them; injection grants none:",
                    pattern.name
                ));
                text.push_str(&indented(&rbac(pattern)?));
            }
            text
        }
        ShowFormat::Markdown => {
            let spec = &pattern.spec;
            let rows: Vec<Vec<String>> = parameters(pattern)
                .into_iter()
                .enumerate()
                .map(|(index, row)| {
                    if index == 0 {
                        row
                    } else {
                        vec![
                            format!("`{}`", row[0]),
                            row[1].clone(),
                            if row[2].is_empty() {
                                String::new()
                            } else {
                                format!("`{}`", row[2])
                            },
                            row[3].clone(),
                        ]
                    }
                })
                .collect();
            format!(
                "# {}\n\n{}\n\n```yaml\n{}.{}/{}: \"{}\"\n```\n\n{}",
                pattern.name,
                spec.summary,
                spec.role,
                crate::keys::GROUP,
                pattern.name,
                example(pattern),
                markdown(&rows)
            )
        }
    })
}

/// The Role with the pattern's permissions, and who has it: the service account of Pods that name none.
fn rbac(pattern: &Pattern) -> anyhow::Result<String> {
    let permissions = &pattern.spec.permissions;
    if permissions.is_empty() {
        return Ok(String::new());
    }
    let name = format!("outrigger-{}", pattern.name);
    let api = "rbac.authorization.k8s.io";
    let role = json!({
        "apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": permissions,
    });
    let binding = json!({
        "apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": api, "kind": "Role", "name": name},
        // The Pods' own one, where they have one.
        "subjects": [{"kind": "ServiceAccount", "name": "default"}],
    });
    Ok(format!(
        "{}---\n{}",
        yaml::write(&role)?,
        yaml::write(&binding)?
    ))
}

fn indented(text: &str) -> String {
    text.lines()
        .fold(String::new(), |text, line| text + "  " + line + "\n")
}

fn summary(pattern: &Pattern) -> Value {
    json!({"name": pattern.name, "role": pattern.spec.role, "from": pattern.place.to_string(), "summary": pattern.spec.summary, "revision": pattern.revision})
}

/// An annotation value that works: what is required, by its example.
fn example(pattern: &Pattern) -> String {
    let schema = pattern.schema.source();
    let value = |name: &str| {
        let example = schema
            .get("properties")?
            .get(name)?
            .get("examples")?
            .get(0)?;
        Some(format!("{name}: {}", plain(example).replace('"', "")))
    };
    let parts: Vec<_> = pattern.schema.required().filter_map(value).collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", parts.join(", "))
    }
}

/// Name, type, default and description of each parameter, under a header.
fn parameters(pattern: &Pattern) -> Vec<Vec<String>> {
    let required = |name: &str| pattern.schema.required().any(|other| other == name);
    let mut rows = vec![
        ["PARAMETER", "TYPE", "DEFAULT", "MEANING"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (name, property) in pattern.schema.properties().into_iter().flatten() {
        let default = match property.get("default") {
            Some(default) => plain(default),
            None if required(name) => "required".to_owned(),
            None => String::new(),
        };
        let description = property
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        rows.push(vec![
            name.clone(),
            kind(property),
            default,
            description.to_owned(),
        ]);
    }
    rows
}

/// A type and its bounds in a few words.
fn kind(property: &Value) -> String {
    if let Some(options) = property.get("enum").and_then(Value::as_array) {
        return options.iter().map(plain).collect::<Vec<_>>().join(" | ");
    }
    let name = match property.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().map(plain).collect::<Vec<_>>().join(" | "),
        Some(kind) => plain(kind),
        None => "any".to_owned(),
    };
    let name = match (name.as_str(), property.get("items")) {
        ("array", Some(items)) => format!("list of {}", kind(items)),
        _ => name,
    };
    match (property.get("minimum"), property.get("maximum")) {
        (Some(least), Some(most)) => format!("{name} {least}–{most}"),
        (Some(least), None) => format!("{name} ≥ {least}"),
        (None, Some(most)) => format!("{name} ≤ {most}"),
        (None, None) => name,
    }
}

fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let cells: Vec<_> = if index == 0 {
            cells.iter().map(|cell| cell.to_lowercase()).collect()
        } else {
            cells
        };
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if index == 0 {
            text.push_str(&format!("|{}\n", " --- |".repeat(row.len())));
        }
    }
    text
}
