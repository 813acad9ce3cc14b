//! Check: the Pod as it would be, against the rules that additions can break.
//!
//! A patch whose result is invalid fails the create whatever the failurePolicy, so none may leave. The rules are the API server's
//! (`pkg/apis/core/validation/validation.go`); what the user wrote himself is left for it to judge.

use serde_json::Value;

use super::decision::Reason;
use super::draft::{Additions, Draft, ports};
use super::problem::Problem;
use super::status::Record;
use crate::kubernetes::names::label_value;
use crate::text::excerpt;

mod container;

/// All annotations of an object, keys and values (`TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Holds the additions against the rules, each container by itself first, then the Pod as a whole.
pub(crate) fn check(draft: &Draft<'_>, additions: &Additions) -> Result<(), Problem> {
    for container in &additions.containers {
        container::rules(&container.value, draft, additions).map_err(invalid)?;
    }
    for app in &additions.apps {
        container::app_rules(app).map_err(invalid)?;
    }
    ports_are_free(draft, additions)?;
    for volume in &additions.volumes {
        one_source(volume)?;
    }
    if let Some((key, value)) = additions
        .labels
        .iter()
        .find(|(_, value)| !label_value(value))
    {
        return Err(invalid(format!(
            "label `{key}` would be `{}`, expected at most 63 letters, digits, `-`, `_` or `.`",
            excerpt(value, 70)
        )));
    }
    annotations_fit(draft, additions)
}

fn invalid(sentence: String) -> Problem {
    Problem::new(Reason::InvalidResult, sentence)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A port that some container of the Pod has.
#[derive(Clone, Copy)]
struct Held<'a> {
    holder: &'a str,
    number: i64,
    protocol: &'a str,
    name: Option<&'a str>,
}

/// Containers of a Pod share one network: a number, and for a Service a name, belongs to one of them.
fn ports_are_free(draft: &Draft<'_>, additions: &Additions) -> Result<(), Problem> {
    let new: Vec<Vec<Held<'_>>> = additions
        .containers
        .iter()
        .map(|container| held(&container.value).collect())
        .collect();
    if new.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let pod = draft.pod.containers().flat_map(|(_, container)| {
        container.ports.iter().flatten().map(|port| Held {
            holder: &container.name,
            number: port.container_port,
            protocol: port.protocol(),
            name: port.name.as_deref(),
        })
    });
    let added = draft
        .additions
        .iter()
        .flat_map(|added| &added.containers)
        .flat_map(|container| held(&container.value));
    let mut taken: Vec<Held<'_>> = pod.chain(added).collect();
    let given_up = additions
        .takeover
        .as_ref()
        .and_then(|takeover| takeover.origin.name.as_deref());
    for ports in new {
        for Held {
            holder,
            number,
            protocol,
            name,
        } in &ports
        {
            if let Some(other) = taken
                .iter()
                .find(|other| other.number == *number && other.protocol == *protocol)
            {
                return Err(Problem::new(
                    Reason::Conflict,
                    format!(
                        "container `{holder}` listens on port {number}, which `{}` has already: choose another by a parameter",
                        other.holder
                    ),
                ));
            }
            if let Some(other) = taken
                .iter()
                .find(|other| name.is_some() && other.name == *name && *name != given_up)
            {
                return Err(Problem::new(
                    Reason::Conflict,
                    format!(
                        "container `{holder}` calls a port `{}`, as `{}` does: a Service would not know whom it means",
                        name.unwrap_or_default(),
                        other.holder
                    ),
                ));
            }
        }
        taken.extend(ports);
    }
    Ok(())
}

/// The ports of a container in JSON.
fn held(container: &Value) -> impl Iterator<Item = Held<'_>> {
    let holder = text(container, "name");
    ports(container).map(move |port| Held {
        holder,
        number: port
            .get("containerPort")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
        protocol: Some(text(port, "protocol"))
            .filter(|protocol| !protocol.is_empty())
            .unwrap_or("TCP"),
        name: port.get("name").and_then(Value::as_str),
    })
}

fn one_source(volume: &Value) -> Result<(), Problem> {
    let sources = volume
        .as_object()
        .map_or(0, |volume| volume.len().saturating_sub(1));
    if sources == 1 {
        return Ok(());
    }
    Err(invalid(format!(
        "volume `{}` has {sources} sources, expected one",
        text(volume, "name")
    )))
}

/// The Pod's annotations, those added so far, these, and the status that will record them.
fn annotations_fit(draft: &Draft<'_>, additions: &Additions) -> Result<(), Problem> {
    let size = |pairs: &[(String, String)]| {
        pairs
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
    };
    let added: usize = draft
        .additions
        .iter()
        .map(|added| size(&added.annotations))
        .sum::<usize>()
        + size(&additions.annotations);
    // An upper bound first: a raw string is never shorter than its text, and the status is its records and what stands between.
    let record = |record: &Record| {
        serde_json::to_string(record).map_or(0, |text| text.len())
            + 2 * crate::kubernetes::names::MAX_LABEL
    };
    let records: usize = draft
        .additions
        .iter()
        .map(|added| record(&added.record))
        .sum::<usize>()
        + record(&additions.record);
    let raw: usize = draft
        .pod
        .metadata
        .annotations
        .iter()
        .flat_map(crate::kubernetes::pod::Pairs::iter)
        .map(|(key, raw)| key.len() + raw.get().len())
        .sum();
    if raw + added + records + 1024 <= MAX_ANNOTATIONS {
        return Ok(());
    }
    let there: usize = draft
        .pod
        .metadata
        .annotations
        .iter()
        .flat_map(crate::kubernetes::pod::Pairs::iter)
        .filter(|(key, _)| *key != crate::keys::STATUS)
        .map(|(key, raw)| {
            key.len() + crate::kubernetes::pod::string(raw).map_or(0, |text| text.len())
        })
        .sum();
    let mut status = draft.status();
    status
        .instances
        .insert(additions.instance.to_string(), additions.record.clone());
    let total = there + added + crate::keys::STATUS.len() + status.text().len();
    if total <= MAX_ANNOTATIONS {
        return Ok(());
    }
    Err(Problem::new(
        Reason::TooLarge,
        format!("the Pod's annotations would be {total} bytes, expected at most {MAX_ANNOTATIONS}"),
    ))
}
