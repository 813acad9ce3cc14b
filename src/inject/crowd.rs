//! Crowd: how many helpers are too many.
//!
//! Each is held against the Pod and all the others, so the work grows with the square of their number, and the webhook sees a Pod
//! before the API server has looked at the size of its annotations.

use super::Context;
use super::decide::{Candidate, Plan};
use super::decision::{Decision, Force, Reason, Source};
use super::wish;
use crate::keys;
use crate::kubernetes::pod::{Pairs, Pod};

/// Helpers of one Pod, whoever wants them.
pub(super) const MAX_INSTANCES: usize = 64;

/// A denial for a Pod whose annotations name more.
pub(super) fn asked(pod: &Pod<'_>) -> Option<Decision> {
    let annotations = pod.metadata.annotations.iter();
    let count = annotations
        .flat_map(Pairs::iter)
        .filter(|(key, _)| is_wish(key))
        .count();
    (count > MAX_INSTANCES).then(|| {
        Decision::denied(
            keys::GROUP,
            Source::Pod(keys::GROUP.to_owned()),
            Reason::TooLarge,
            format!("the Pod's annotations name {count} helpers, expected at most {MAX_INSTANCES}"),
        )
    })
}

/// The namespace's annotations that count, by name, and a word about the others.
pub(super) fn offered<'a>(
    context: &Context<'a>,
    settled: &mut Vec<Decision>,
) -> Vec<(&'a String, &'a String)> {
    let ours = || {
        let annotations = context.namespace.annotations.iter();
        annotations.filter(|(key, _)| is_wish(key))
    };
    let count = ours().count();
    if count > MAX_INSTANCES {
        let source = Source::Namespace(keys::GROUP.to_owned());
        let mut rest = Decision::new(keys::GROUP.to_owned(), vec![source], Reason::TooLarge);
        rest.sentence = format!(
            "namespace `{}` has {count} annotations for helpers, of which the first {MAX_INSTANCES} count",
            context.namespace.name
        );
        rest.settle(Force::Offered);
        settled.push(rest);
    }
    ours().take(MAX_INSTANCES).collect()
}

/// Leaves out the offers beyond the limit: an offer stops no Pod.
pub(super) fn thin(plan: &mut Plan) {
    let is_offer = |candidate: &Candidate| candidate.force == Force::Offered;
    let wanted = plan.candidates.iter().filter(|one| !is_offer(one)).count();
    let mut room = MAX_INSTANCES.saturating_sub(wanted);
    let (kept, left_out) =
        std::mem::take(&mut plan.candidates)
            .into_iter()
            .partition(|candidate| {
                let fits = !is_offer(candidate) || room > 0;
                room -= usize::from(is_offer(candidate) && fits);
                fits
            });
    plan.candidates = kept;
    let left_out: Vec<Candidate> = left_out;
    plan.settled
        .extend(left_out.into_iter().map(|Candidate { mut decision, .. }| {
            decision.reason = Reason::TooLarge;
            decision.sentence = format!("the Pod has {MAX_INSTANCES} helpers already");
            decision.settle(Force::Offered);
            decision
        }));
}

fn is_wish(key: &str) -> bool {
    keys::is_ours(key) && !wish::is_record(key)
}
