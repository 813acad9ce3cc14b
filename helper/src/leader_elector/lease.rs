//! What to do about a Lease, given what it says and what we know. Pure: time comes as an argument.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// A state of the Lease, and since when we know it.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    resource_version: Option<String>,
    at: Instant,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is ours, or free: write our claim into it.
    Claim,
    /// Another holds it, at least until then.
    Wait(Instant),
}

/// The holder's name: what stands before the last `_`. What comes after it, here and with client-go, has none.
pub(super) fn pod_of(identity: &str) -> &str {
    identity.rsplit_once('_').map_or(identity, |(name, _)| name)
}

/// The Lease's holder; empty for nobody.
pub(super) fn holder(lease: &Lease) -> &str {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// Notes when this state of the Lease was first seen.
pub(super) fn sight(before: Option<Sighting>, lease: &Lease, now: Instant) -> Sighting {
    match before {
        Some(known) if known.resource_version == lease.metadata.resource_version => known,
        _ => Sighting {
            resource_version: lease.metadata.resource_version.clone(),
            at: now,
        },
    }
}

/// Decides by the holder's own promise of how long it may be silent; `default` where it made none.
pub(super) fn step(
    lease: &Lease,
    me: &str,
    seen: &Sighting,
    default: Duration,
    now: Instant,
) -> Step {
    let holder = holder(lease);
    if holder.is_empty() || holder == me {
        return Step::Claim;
    }
    let promised = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds)
        .and_then(|seconds| u64::try_from(seconds).ok());
    let expires = seen.at + promised.map_or(default, Duration::from_secs);
    if now < expires {
        Step::Wait(expires)
    } else {
        Step::Claim
    }
}

/// The Lease with our claim in it. Times in it are for people to read: nobody compares them.
pub(super) fn claimed(mut lease: Lease, me: &str, seconds: i32, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(me) {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
    }
    spec.holder_identity = Some(me.to_owned());
    spec.lease_duration_seconds = Some(seconds);
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// The Lease without a holder, as client-go gives it back.
pub(super) fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let LeaseSpec {
        holder_identity,
        lease_duration_seconds,
        renew_time,
        ..
    } = lease.spec.get_or_insert_default();
    *holder_identity = None;
    *lease_duration_seconds = Some(1);
    *renew_time = Some(MicroTime(now));
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Duration = Duration::from_secs(15);

    fn lease(version: &str, holder: Option<&str>, seconds: Option<i32>) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.to_owned());
        lease.spec = Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        });
        lease
    }

    #[test]
    fn a_free_lease_and_our_own_are_claimed() {
        let now = Instant::now();
        for holder in [None, Some(""), Some("me_1")] {
            let lease = lease("1", holder, Some(15));
            assert_eq!(
                step(&lease, "me_1", &sight(None, &lease, now), DEFAULT, now),
                Step::Claim
            );
        }
        assert_eq!(
            step(
                &Lease::default(),
                "me_1",
                &sight(None, &Lease::default(), now),
                DEFAULT,
                now
            ),
            Step::Claim
        );
    }

    #[test]
    fn anothers_lease_is_its_own_for_as_long_as_it_promised_from_when_we_saw_it() {
        let start = Instant::now();
        let first = lease("1", Some("other_1"), Some(6));
        let seen = sight(None, &first, start);
        let later = start + Duration::from_secs(5);
        assert_eq!(
            step(&first, "me_1", &seen, DEFAULT, later),
            Step::Wait(start + Duration::from_secs(6))
        );
        // Seen again unchanged: no longer.
        let again = sight(Some(seen.clone()), &first, later);
        assert_eq!(
            step(
                &first,
                "me_1",
                &again,
                DEFAULT,
                start + Duration::from_secs(6)
            ),
            Step::Claim
        );
        // Renewed: from now on.
        let renewed = lease("2", Some("other_1"), Some(6));
        let seen = sight(Some(again), &renewed, later);
        assert_eq!(
            step(&renewed, "me_1", &seen, DEFAULT, later),
            Step::Wait(later + Duration::from_secs(6))
        );
        // No promise: ours.
        let silent = lease("3", Some("other_1"), None);
        assert_eq!(
            step(
                &silent,
                "me_1",
                &sight(None, &silent, start),
                DEFAULT,
                start
            ),
            Step::Wait(start + DEFAULT)
        );
    }

    #[test]
    fn an_earlier_life_of_this_pod_is_another() {
        let now = Instant::now();
        let lease = lease("1", Some("pod-1_aaaa"), Some(15));
        assert!(matches!(
            step(
                &lease,
                "pod-1_bbbb",
                &sight(None, &lease, now),
                DEFAULT,
                now
            ),
            Step::Wait(_)
        ));
        assert_eq!(pod_of("pod-1_aaaa"), "pod-1");
    }

    #[test]
    fn transitions_count_holders() {
        let now = Timestamp::UNIX_EPOCH;
        let first = claimed(Lease::default(), "a_1", 15, now);
        let renewed = claimed(first.clone(), "a_1", 15, now);
        assert_eq!(first, renewed);
        let taken = claimed(released(renewed, now), "b_1", 15, now);
        let spec = taken.spec.expect("a spec");
        assert_eq!(
            (
                spec.lease_transitions,
                spec.holder_identity.as_deref(),
                spec.lease_duration_seconds
            ),
            (Some(2), Some("b_1"), Some(15))
        );
    }
}
