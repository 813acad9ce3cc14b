//! Place: each candidate goes through its stages, in an order in which what is wanted most comes first, and a chain of interposers
//! from the inside out.

use super::carry;
use super::decide::{Candidate, Plan, decide};
use super::decision::{Decision, Force, Layer, Reason, Source, Verdict};
use super::draft::Draft;
use super::interpose;
use super::render::Surroundings;
use super::settings::Settings;
use super::status::{Record, Status};
use super::verify;
use super::{Context, add};
use crate::kubernetes::pod::Pod;
use crate::pattern::Pattern;
use crate::text::and_list;

/// Adds all candidates to the draft; where an offer would stop what is asked for or required, it is left out: an offer stops no Pod.
pub(super) fn place<'p>(
    empty: &Draft<'p>,
    context: &Context<'_>,
    candidates: Vec<Candidate>,
) -> (Draft<'p>, Vec<Decision>) {
    // One that is there already is the Pod's own affair.
    let is_offer = |candidate: &Candidate| {
        candidate.force == Force::Offered
            && !empty
                .carried
                .instances
                .contains_key(&candidate.instance.to_string())
    };
    let denied = |decisions: &[Decision]| {
        decisions
            .iter()
            .any(|decision| decision.verdict == Verdict::Denied)
    };
    if !candidates.iter().any(is_offer) {
        return place_all(empty, context, candidates);
    }
    let all = place_all(empty, context, candidates.clone());
    if !denied(&all.1) {
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
                Some(_) => verified(candidate, &mut draft, context),
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
    decision.params.clone_from(&settings.params);
    let record = Record {
        source: decision.wanter().map(Source::short).unwrap_or_default(),
        pattern: pattern.place.to_string(),
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
fn verified(candidate: Candidate, draft: &mut Draft<'_>, context: &Context<'_>) -> Decision {
    let result = verify::verify(&candidate, draft, context);
    let Candidate { mut decision, .. } = candidate;
    match result {
        Ok(rest) => {
            decision.record = Some(rest.record.clone());
            if rest.apps.is_empty() {
                decision.verdict = Verdict::Carried;
                decision.reason = Reason::Carried;
                "it is in the Pod already, as it would be injected"
                    .clone_into(&mut decision.sentence);
            } else {
                let late: Vec<_> = rest.apps.iter().map(|app| &app.container).collect();
                decision.sentence = format!(
                    "{} requires it, also for what came later: {}",
                    decision.whence(),
                    and_list(late)
                );
                draft.commit(rest);
            }
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
pub(super) fn afresh<'p>(pod: &'p Pod<'p>, context: &Context<'_>, recorded: &Status) -> Draft<'p> {
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
