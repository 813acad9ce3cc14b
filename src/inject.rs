//! `inject`: a Pod and what is known about the world in, decisions and a patch out. Pure.
//!
//! ```text
//!            ┌─ decide ──▶ candidates, each with its parameters by layer
//!  Pod ──────┤               │ for each, the innermost interposer first:
//!  Context ──┘               ├─ carried?  the status records it ─▶ it must be there
//!                            ├─ render    parameters, templates ─▶ fragment
//!                            ├─ merge     by identity ───────────▶ additions
//!                            └─ check     the API server's rules ─▶ taken into the draft
//!                                                                       │
//!  Outcome ◀── decisions, with reasons ◀── patch ◀──────────────────────┘
//! ```
//!
//! What cannot be done for an instance that is asked for or required denies the Pod; for one that is only offered it is a skip
//! with a warning. The command line and the webhook call this same function.

use crate::catalog::{Catalog, Namespace};
use crate::kubernetes::names::Instance;
use crate::kubernetes::pod::Pod;
use crate::pattern::{Fault, Pattern};

mod carry;
mod check;
mod claims;
mod contain;
mod crowd;
mod decide;
mod decision;
mod draft;
mod dress;
mod interpose;
mod label;
mod layers;
mod merge;
mod patch;
mod place;
mod problem;
mod render;
mod settings;
mod status;
mod uninject;
mod verify;
mod wish;

use check::check;
use decide::{Plan, decide};
use draft::{Additions, Draft};
use merge::merge;
use place::place;
use problem::Problem;
use render::{Surroundings, render};
use settings::Settings;

pub use crate::kubernetes::pod::Error;
pub use decision::{Decision, Layer, Reason, Source, Verdict};
pub use patch::{Operation, Patch, escape};
pub use status::{Interposed, Record, Status, file_key};
pub use uninject::uninject;

/// What is known besides the Pod.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The Pod's namespace.
    pub namespace: &'a Namespace,
    /// Patterns, bindings, settings.
    pub catalog: &'a Catalog,
}

/// What `inject` found and what it would change.
#[derive(Debug)]
pub struct Outcome {
    /// One for each candidate, by instance.
    pub decisions: Vec<Decision>,
    /// Empty if there is nothing to add, and if the Pod is denied.
    pub patch: Patch,
}

impl Outcome {
    /// Decisions about a Pod that nothing is done to.
    fn untouched(decisions: Vec<Decision>) -> Self {
        Self {
            decisions,
            patch: Patch::default(),
        }
    }

    /// The decisions that refuse the Pod; none for a Pod that may go on.
    pub fn denials(&self) -> impl Iterator<Item = &Decision> {
        self.decisions
            .iter()
            .filter(|decision| decision.verdict == Verdict::Denied)
    }

    /// Everything worth telling whoever sent the Pod.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.decisions
            .iter()
            .flat_map(|decision| &decision.warnings)
            .map(String::as_str)
    }
}

/// Decides, renders, merges, checks. `pod` is a Pod or a Pod template in JSON.
pub fn inject(pod: &[u8], context: &Context<'_>) -> Result<Outcome, Error> {
    Ok(inject_pod(&Pod::read(pod)?, context))
}

/// The same for a Pod that has been read.
#[must_use]
pub fn inject_pod(pod: &Pod<'_>, context: &Context<'_>) -> Outcome {
    if pod.is_mirror() {
        return Outcome::untouched(decide::mirror(pod));
    }
    let Plan {
        candidates,
        settled: mut decisions,
    } = decide(pod, context);
    let status = carried(pod, &mut decisions);
    if let Some(copied) = carry::unrecorded_volume(pod, &status) {
        // Every other sentence about such a Pod would lead astray.
        return Outcome::untouched(vec![copied]);
    }
    let (draft, placed) = place(&Draft::new(pod, status), context, candidates);
    decisions.extend(placed);
    carry::orphans(&draft.carried, &mut decisions, pod);
    decisions.sort_by(|left, right| left.instance.cmp(&right.instance));
    decisions.iter_mut().for_each(Decision::tidy);
    let denied = decisions
        .iter()
        .any(|decision| decision.verdict == Verdict::Denied);
    Outcome {
        decisions,
        patch: if denied {
            Patch::default()
        } else {
            patch::patch(draft)
        },
    }
}

/// The three stages that one candidate goes through.
fn add(
    pattern: &Pattern,
    instance: &Instance,
    settings: &Settings,
    draft: &Draft<'_>,
    around: &Surroundings<'_>,
    record: Record,
) -> Result<Additions, Problem> {
    let fragment = render(pattern, instance, settings, draft, around)?;
    let additions = merge(draft, instance, pattern.spec.rank, fragment, record)?;
    check(draft, &additions)?;
    Ok(additions)
}

/// The status that the Pod brings along; one that cannot be read denies the Pod.
fn carried(pod: &Pod<'_>, decisions: &mut Vec<Decision>) -> Status {
    match Status::read(pod) {
        Ok(status) => status.unwrap_or_default(),
        Err(sentence) => {
            decisions.push(Decision::denied(
                crate::keys::STATUS,
                Source::Status,
                Reason::InvalidStatus,
                sentence,
            ));
            Status::default()
        }
    }
}

/// The trial at load: one pattern, one Pod, nothing around it.
pub(crate) fn attempt(
    pattern: &Pattern,
    params: serde_json::Map<String, serde_json::Value>,
    pod: &[u8],
) -> Result<(), Fault> {
    let fault = |problem: Problem| Fault::new(problem.path, problem.sentence);
    let pod = Pod::read(pod).map_err(|error| Fault::new("", error.to_string()))?;
    let settings = Settings {
        params,
        into: None,
        overrides: None,
    };
    let namespace = Namespace {
        name: "trial".to_owned(),
        ..Namespace::default()
    };
    let around = Surroundings {
        namespace: serde_json::json!({"name": namespace.name, "labels": {}, "annotations": {}}),
        image_registry: None,
        recorded_ports: std::collections::BTreeMap::new(),
        spoken_for: Vec::new(),
    };
    let draft = Draft {
        trial: true,
        ..Draft::new(&pod, Status::default())
    };
    add(
        pattern,
        &Instance::of(&pattern.name),
        &settings,
        &draft,
        &around,
        Record::default(),
    )
    .map(|_| ())
    .map_err(fault)
}
