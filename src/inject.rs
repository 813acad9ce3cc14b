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
use crate::names::Instance;
use crate::pattern::{Fault, Pattern};
use crate::pod::Pod;

mod carry;
mod check;
mod claims;
mod contain;
mod decide;
mod decision;
mod draft;
mod dress;
mod interpose;
mod layers;
mod merge;
mod patch;
mod problem;
mod render;
mod settings;
mod status;
mod uninject;
mod verify;
mod wish;

use check::check;
use decide::{Candidate, Force, Plan, decide};
use draft::{Additions, Draft};
use merge::merge;
use problem::Problem;
use render::{Surroundings, render};
use settings::Settings;

pub use crate::pod::Error;
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

    /// The sentences that refuse the Pod; none for a Pod that may go on.
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
    let pod = Pod::read(pod)?;
    if pod.is_mirror() {
        return Ok(Outcome::untouched(decide::mirror(&pod)));
    }
    let Plan {
        candidates,
        settled: mut decisions,
    } = decide(&pod, context);
    let status = carried(&pod, &mut decisions);
    if let Some(copied) = carry::unrecorded_volume(&pod, &status) {
        // Every other sentence about such a Pod would lead astray.
        return Ok(Outcome::untouched(vec![copied]));
    }
    let (draft, placed) = place(&Draft::new(&pod, status), context, candidates);
    decisions.extend(placed);
    carry::orphans(&draft.carried, &mut decisions, &pod);
    decisions.sort_by(|left, right| left.instance.cmp(&right.instance));
    decisions.iter_mut().for_each(Decision::tidy);
    let denied = decisions
        .iter()
        .any(|decision| decision.verdict == Verdict::Denied);
    Ok(Outcome {
        decisions,
        patch: if denied {
            Patch::default()
        } else {
            patch::patch(draft)
        },
    })
}

/// Adds all candidates to the draft; where an offer would stop what is asked for or required, it is left out: an offer stops no Pod.
fn place<'p>(
    empty: &Draft<'p>,
    context: &Context<'_>,
    candidates: Vec<Candidate>,
) -> (Draft<'p>, Vec<Decision>) {
    let is_offer = |candidate: &Candidate| candidate.force == Force::Offered;
    let denied = |decisions: &[Decision]| {
        decisions
            .iter()
            .any(|decision| decision.verdict == Verdict::Denied)
    };
    let all = place_all(empty, context, candidates.clone());
    if !denied(&all.1) || !candidates.iter().any(is_offer) {
        return all;
    }
    let (offers, mut kept): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_offer);
    let mut best = place_all(empty, context, kept.clone());
    if denied(&best.1) {
        return all;
    }
    let mut left_out = Vec::new();
    for offer in offers {
        kept.push(offer);
        let with = place_all(empty, context, kept.clone());
        if !denied(&with.1) {
            best = with;
        } else if let Some(Candidate { mut decision, .. }) = kept.pop() {
            let cause = with
                .1
                .iter()
                .find(|decision| decision.verdict == Verdict::Denied)
                .map(|decision| decision.sentence.clone());
            decision.reason = Reason::Conflict;
            decision.sentence = format!(
                "{} offers it, but with it this would fail: {}",
                decision.whence(),
                cause.unwrap_or_default()
            );
            decision.settle(Force::Offered);
            left_out.push(decision);
        }
    }
    best.1.append(&mut left_out);
    best
}

/// Adds the candidates to a copy of `empty`, one after the other.
fn place_all<'p>(
    empty: &Draft<'p>,
    context: &Context<'_>,
    candidates: Vec<Candidate>,
) -> (Draft<'p>, Vec<Decision>) {
    let mut draft = Draft::new(empty.pod, empty.carried.clone());
    draft.know_ranks(&candidates);
    let around = Surroundings::of(context, &candidates);
    let mut decisions = Vec::with_capacity(candidates.len());
    for candidate in inside_out(candidates) {
        decisions.push(
            match draft.carried.instances.get(&candidate.instance.to_string()) {
                Some(record) if candidate.force != Force::Required => {
                    carry::carry(candidate, record, draft.pod)
                }
                Some(_) => verified(candidate, &draft, context),
                None => added(candidate, &mut draft, &around),
            },
        );
    }
    for (instance, sentence) in interpose::unnamed(&draft) {
        let decision = decisions
            .iter_mut()
            .find(|decision| decision.instance == instance.to_string());
        decision
            .into_iter()
            .for_each(|decision| decision.warnings.push(sentence.clone()));
    }
    (draft, decisions)
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

/// Adds a candidate to the draft, or says why not.
fn added(candidate: Candidate, draft: &mut Draft<'_>, around: &Surroundings<'_>) -> Decision {
    let Candidate {
        instance,
        pattern,
        force,
        mut decision,
    } = candidate;
    let settings = match Settings::of(&decision.layers).complete(&pattern) {
        Ok(settings) => settings,
        Err(sentence) => {
            decision.reason = Reason::InvalidParameters;
            let blamed = blamed(&decision.layers, &pattern, &sentence);
            let whence = blamed.map_or_else(|| decision.whence(), ToString::to_string);
            decision.sentence = format!("{whence}: {sentence}");
            decision.settle(force);
            return decision;
        }
    };
    decision.params = settings.params.clone();
    let record = Record {
        source: decision.wanter().map(Source::short).unwrap_or_default(),
        pattern: decide::origin(&pattern.place),
        revision: pattern.revision.clone(),
        params: settings.hash(),
        ..Record::default()
    };
    match add(&pattern, &instance, &settings, draft, around, record) {
        Err(problem) => {
            decision.reason = problem.reason;
            decision.sentence = format!("{}: {}", decision.whence(), problem.text(&pattern.name));
            decision.settle(force);
        }
        Ok(_) if force == Force::Audited => {
            decision.verdict = Verdict::Skipped;
            decision.reason = Reason::Audited;
            decision.sentence = format!("audit: {} would inject it", decision.whence());
            decision
                .warnings
                .push(format!("`{instance}`: {}", decision.sentence));
        }
        Ok(mut additions) => {
            decision.warnings.append(&mut additions.warnings);
            decision.record = Some(additions.record.clone());
            decision.sentence = format!(
                "{} {}",
                decision.whence(),
                match force {
                    Force::Required => "requires it",
                    Force::Asked => "asks for it",
                    Force::Offered | Force::Audited => "offers it",
                }
            );
            draft.commit(additions);
        }
    }
    decision
}

/// Who set the parameter that does not fit: the layer that brought the sentence up. Nobody, where something is missing.
fn blamed<'a>(layers: &'a [Layer], pattern: &Pattern, sentence: &str) -> Option<&'a Source> {
    let says_so = |count: usize| {
        let settings = Settings::of(&layers[..count]).complete(pattern);
        settings.is_err_and(|other| other == sentence)
    };
    let first = (0..=layers.len()).find(|count| says_so(*count))?;
    layers.get(first.checked_sub(1)?).map(|layer| &layer.source)
}

/// Settles a Required candidate that the status claims is there: the status is not trusted.
fn verified(candidate: Candidate, draft: &Draft<'_>, context: &Context<'_>) -> Decision {
    let result = verify::verify(&candidate, draft, context);
    let Candidate { mut decision, .. } = candidate;
    match result {
        Ok(record) => {
            decision.verdict = Verdict::Carried;
            decision.reason = Reason::Carried;
            "it is in the Pod already, as it would be injected".clone_into(&mut decision.sentence);
            decision.record = Some(record);
        }
        Err(problem) => {
            decision.verdict = Verdict::Denied;
            decision.reason = problem.reason;
            decision.sentence = problem.sentence;
        }
    }
    decision
}

/// What would be added to `pod` if it were injected now; ports that `recorded` names are given out again.
fn afresh<'p>(pod: &'p Pod<'p>, context: &Context<'_>, recorded: &Status) -> Draft<'p> {
    let Plan { candidates, .. } = decide(pod, context);
    let mut around = Surroundings::of(context, &candidates);
    let mut draft = Draft::new(pod, Status::default());
    for candidate in inside_out(candidates) {
        let record = recorded.instances.get(&candidate.instance.to_string());
        around.recorded_ports = record
            .map(|record| record.ports.clone())
            .unwrap_or_default();
        added(candidate, &mut draft, &around);
    }
    draft
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

/// What is asked for or required before what is only offered, then by rank and name; interposers last and backwards, since each has
/// to know who stands behind it.
fn inside_out(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by_key(|candidate| {
        let weak = matches!(candidate.force, Force::Offered | Force::Audited);
        (
            weak,
            candidate.pattern.spec.rank,
            candidate.instance.clone(),
        )
    });
    let (mut interposers, mut ordered): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|candidate| candidate.pattern.spec.interpose.is_some());
    interposers.sort_by_key(|candidate| {
        std::cmp::Reverse((candidate.pattern.spec.rank, candidate.instance.clone()))
    });
    ordered.append(&mut interposers);
    ordered
}

/// The trial at load: one pattern, one Pod, nothing around it.
pub(crate) fn attempt(
    pattern: &Pattern,
    params: serde_json::Value,
    pod: &[u8],
) -> Result<(), Fault> {
    let fault = |problem: Problem| Fault::new(problem.path, problem.sentence);
    let pod = Pod::read(pod).map_err(|error| Fault::new("", error.to_string()))?;
    let serde_json::Value::Object(params) = params else {
        return Ok(());
    };
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
