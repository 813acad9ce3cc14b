//! `outrigger status`: what each workload's Pods should have, and what they have.
//!
//! A running Pod is held against the world as it is now by the same function that admission uses: what it records and still has is
//! carried, what it would get today and does not have is missing.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde::Serialize;
use serde_json::Value;

use super::output::{Ending, Printer, table};
use crate::cluster;
use crate::cluster::survey::{self, Installation, Uncalled};
use crate::entries::Entry;
use crate::hash;
use crate::inject::{self, Context, Decision, Reason, Verdict};
use crate::kubernetes::pod::Pod;
use crate::world::World;

/// Say, for each workload of the cluster, which helpers its Pods should have and which they have
///
/// States: `has`; `outdated` (the pattern or its parameters changed since); `drifted` (a config file's annotation was edited since);
/// `missing`; `conflicting` (the Pod would be denied today, or is not as recorded); `skipped` (it is offered and cannot be done).
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Only this namespace; all of them without it
    #[arg(short, long)]
    namespace: Option<String>,
    /// Registry that the server re-roots images to, if it was told to
    #[arg(long, value_name = "HOST[/PATH]")]
    image_registry: Option<String>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// How an instance stands in a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Conflicting,
    Missing,
    Outdated,
    Drifted,
    Skipped,
    Has,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Conflicting => "conflicting",
            Self::Missing => "missing",
            Self::Outdated => "outdated",
            Self::Drifted => "drifted",
            Self::Skipped => "skipped",
            Self::Has => "has",
        }
    }
}

/// Pods of a workload that stand the same.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Row {
    namespace: String,
    workload: String,
    instance: String,
    state: State,
    reason: &'static str,
    message: String,
}

pub(super) fn run(args: &StatusArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    let found = super::block_on(look(args))??;
    let Some((installation, world, complaints, pods)) = found else {
        printer.error(
            "Outrigger is not installed here: no webhook configuration has a webhook of its name",
        );
        printer.note(
            "hint: `helm install`, or `outrigger install | kubectl apply --server-side -f -`",
        );
        return Ok(Ending::WrongInput);
    };
    for sentence in amiss(&installation, &world).into_iter().chain(complaints) {
        printer.warning(&sentence);
    }
    let mut rows: BTreeMap<Row, usize> = BTreeMap::new();
    for pod in &pods {
        for row in judge(pod, &installation, &world) {
            *rows.entry(row).or_default() += 1;
        }
    }
    match args.output {
        Format::Table if rows.is_empty() => {
            printer.note("no running Pod has a helper, or should have one");
        }
        Format::Table => printer.data(&text(&rows))?,
        Format::Json => {
            let rows: Vec<Value> = rows
                .iter()
                .map(|(row, pods)| {
                    let mut value = serde_json::to_value(row)?;
                    value["pods"] = (*pods).into();
                    Ok(value)
                })
                .collect::<serde_json::Result<_>>()?;
            printer.data(&format!("{:#}\n", Value::Array(rows)))?;
        }
    }
    Ok(Ending::Done)
}

type Look = (Installation, World, Vec<String>, Vec<DynamicObject>);

async fn look(args: &StatusArgs) -> anyhow::Result<Option<Look>> {
    let client = cluster::connect().await?;
    let Some(installation) = Installation::find(&client).await? else {
        return Ok(None);
    };
    let registry = args.image_registry.as_deref();
    let (world, complaints) = survey::world(&client, &installation, registry).await?;
    let pods = pods(&client, args.namespace.as_deref()).await?;
    Ok(Some((installation, world, complaints, pods)))
}

/// Pods as they are, field by field: nothing that a type of ours would lose.
async fn pods(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<DynamicObject>> {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let api = match namespace {
        Some(namespace) => {
            Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource)
        }
        None => Api::all_with(client.clone(), &resource),
    };
    // What is over, or about to be, has nothing to miss.
    let live = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let mut pods = api
        .list(&live)
        .await
        .context("Pods cannot be listed")?
        .items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(pods)
}

/// What is wrong with the installation itself.
fn amiss(installation: &Installation, world: &World) -> Vec<String> {
    let mut sentences = Vec::new();
    for expected in [Entry::Annotated, Entry::Namespace] {
        if !installation
            .entries
            .iter()
            .any(|there| there.entry == expected)
        {
            sentences.push(format!(
                "there is no webhook `{}`: the API server does not call us by it",
                expected.webhook()
            ));
        }
    }
    for configured in &installation.entries {
        if !configured.has_bundle {
            sentences.push(format!(
                "{} `{}` has no caBundle: the API server trusts no certificate of ours there",
                configured.entry.kind(),
                configured.name
            ));
        }
        let required = world
            .catalog
            .cluster_bindings()
            .iter()
            .filter(|binding| binding.is_required());
        if configured.entry == Entry::Cluster && configured.fails_open {
            sentences.extend(required.map(|binding| format!(
                "binding `{}/{}` is Required, but `{}` has failurePolicy Ignore: without a server, Pods get by without it",
                binding.namespace, binding.name, configured.name
            )));
        }
    }
    sentences
}

fn judge(object: &DynamicObject, installation: &Installation, world: &World) -> Vec<Row> {
    let namespace_name = object.metadata.namespace.clone().unwrap_or_default();
    let namespace = world.namespace(&namespace_name);
    let json = serde_json::to_vec(object).unwrap_or_default();
    let workload = workload(object);
    let row = |instance: &str, (state, reason, message): (State, &'static str, String)| Row {
        namespace: namespace_name.clone(),
        workload: workload.clone(),
        instance: instance.to_owned(),
        state,
        reason,
        message,
    };
    let pod = match Pod::read(&json) {
        Ok(pod) => pod,
        Err(error) => {
            return vec![row(
                "",
                (State::Conflicting, "not-a-pod", error.to_string()),
            )];
        }
    };
    let context = Context {
        namespace: &namespace,
        catalog: &world.catalog,
    };
    let outcome = inject::inject_pod(&pod, &context);
    let called = installation.called(&pod, &namespace);
    // Nobody is asked about the cluster's own Pods and ours, and nobody misses a helper there.
    let is_excluded = called.is_err()
        && (namespace_name.starts_with("kube-") || namespace_name == installation.home);
    outcome
        .decisions
        .iter()
        .filter_map(|decision| state(decision, &pod, &called).map(|found| (decision, found)))
        .filter(|(_, (state, ..))| !(is_excluded && *state == State::Missing))
        .map(|(decision, found)| row(&decision.instance, found))
        .collect()
}

/// How an instance stands; `None` where nobody misses it.
fn state(
    decision: &Decision,
    pod: &Pod<'_>,
    called: &Result<Entry, Vec<Uncalled>>,
) -> Option<(State, &'static str, String)> {
    let code = decision.reason.code();
    let warning = || {
        decision
            .warnings
            .first()
            .unwrap_or(&decision.sentence)
            .clone()
    };
    Some(match decision.verdict {
        Verdict::Carried if decision.reason == Reason::Outdated => {
            (State::Outdated, code, warning())
        }
        Verdict::Carried => match drifted(decision, pod) {
            Some(key) => (
                State::Drifted,
                "drifted",
                format!("annotation `{key}` is not what was injected"),
            ),
            None => (State::Has, code, String::new()),
        },
        Verdict::Injected => match called {
            Ok(_) => (
                State::Missing,
                "created-before",
                "the Pod is older than the wish, or came while no server answered: make it anew"
                    .to_owned(),
            ),
            Err(uncalled) => (State::Missing, "not-called", not_called(uncalled)),
        },
        Verdict::Denied => (State::Conflicting, code, decision.sentence.clone()),
        Verdict::Skipped if decision.warnings.is_empty() => return None,
        Verdict::Skipped => (State::Skipped, code, decision.sentence.clone()),
    })
}

fn not_called(uncalled: &[Uncalled]) -> String {
    let reasons: Vec<String> = uncalled
        .iter()
        .map(|Uncalled { name, why }| format!("`{name}`: {why}"))
        .collect();
    format!(
        "the API server does not call us for it: {}",
        reasons.join("; ")
    )
}

/// The annotation of a config file that is not as it was injected.
fn drifted(decision: &Decision, pod: &Pod<'_>) -> Option<String> {
    let record = decision.record.as_ref()?;
    record.files.iter().find_map(|(file, hash)| {
        let key = inject::file_key(&decision.instance, file);
        let now = pod.annotation(&key).unwrap_or_default();
        (hash::of_text(&now) != *hash).then_some(key)
    })
}

/// `Deployment/shop`: whoever made the Pod, or made who made it as far as the Pod tells.
fn workload(object: &DynamicObject) -> String {
    let name = object.metadata.name.clone().unwrap_or_default();
    let owners = object
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default();
    let owner = owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .or(owners.first());
    let Some(owner) = owner else {
        return format!("Pod/{name}");
    };
    let labels = object.metadata.labels.as_ref();
    let template = labels.and_then(|labels| labels.get("pod-template-hash"));
    let deployment = template.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
    match deployment {
        Some(deployment) if owner.kind == "ReplicaSet" => format!("Deployment/{deployment}"),
        _ => format!("{}/{}", owner.kind, owner.name),
    }
}

fn text(rows: &BTreeMap<Row, usize>) -> String {
    let mut cells = vec![
        [
            "NAMESPACE",
            "WORKLOAD",
            "INSTANCE",
            "STATE",
            "PODS",
            "REASON",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (row, pods) in rows {
        let reason = if row.message.is_empty() {
            row.reason.to_owned()
        } else {
            format!("{}: {}", row.reason, row.message)
        };
        cells.push(vec![
            row.namespace.clone(),
            row.workload.clone(),
            row.instance.clone(),
            row.state.name().to_owned(),
            pods.to_string(),
            reason,
        ]);
    }
    table(&cells, 0)
}
