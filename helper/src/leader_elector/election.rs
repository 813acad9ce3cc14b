//! The candidate's loop: read, decide, claim, wait for what may change the answer.

use std::time::Duration;

use anyhow::anyhow;
use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until, timeout};

use super::lease::{self, Sighting, Step};
use super::{Candidate, Shared};
use crate::backoff::backoff;
use crate::life::Life;

/// How long giving the Lease back may take, all in all.
const RELEASE: Duration = Duration::from_secs(3);
/// How long a candidate that may not watch goes without trying again.
const BLIND: Duration = Duration::from_mins(1);
/// How long the loser of a race for the Lease waits before it looks again.
const RACE: Duration = Duration::from_millis(100);

struct Election<'a> {
    leases: Api<Lease>,
    candidate: Candidate,
    shared: &'a Shared,
    seen: Option<Sighting>,
    /// How long another leads, by what the Lease last said; it does so without the Lease, too.
    theirs: Option<Instant>,
    /// Whether the app was last told that it leads.
    leading: bool,
    /// Until when we do not try to watch: the role does not let us, or an API server that has just started said so.
    blind: Option<Instant>,
}

/// What a round ended with.
enum Round {
    /// Our claim is written.
    Leads,
    /// Another leads until then at least; the Lease as it was read, if it is there.
    Follows(Instant, Option<Box<Lease>>),
    /// Another wrote between our reading and our writing.
    Raced,
}

/// Takes part until the end of `life`; gives the Lease back if it is ours then.
pub(super) async fn run(client: Client, candidate: Candidate, shared: &Shared, life: &Life) {
    let retry = candidate.retry_period;
    let leases = Api::namespaced(client, &candidate.namespace);
    let mut election = Election {
        leases,
        candidate,
        shared,
        seen: None,
        theirs: None,
        leading: false,
        blind: None,
    };
    let mut failures = 0;
    while !life.is_over() {
        let round = tokio::select! {
            round = election.round() => round,
            () = life.ended() => break,
        };
        failures = if round.is_err() { failures + 1 } else { 0 };
        election.tell();
        match round {
            Ok(Round::Leads) => life.sleep(retry).await,
            Ok(Round::Follows(until, lease)) => tokio::select! {
                () = election.change(until, lease) => {}
                () = life.ended() => break,
            },
            Ok(Round::Raced) => life.sleep(backoff(RACE, RACE, 1)).await,
            Err(error) => {
                shared.failures.inc();
                let error = sentence(&error);
                tracing::warn!(error, failures, "no answer about the Lease");
                shared.standing().trouble = error;
                // Soon at first: our claim may be running out.
                life.sleep(backoff(retry / 4, retry, failures)).await;
            }
        }
        election.tell();
    }
    election.release().await;
}

impl Election<'_> {
    /// Reads the Lease, and claims it where that is due. Two tries fit into the renew deadline.
    async fn round(&mut self) -> anyhow::Result<Round> {
        let patience = self.candidate.renew_deadline / 2;
        let lease = in_time(patience, self.leases.get_opt(&self.candidate.lease)).await??;
        self.note(lease.as_ref());
        let Some(lease) = lease else {
            // Whoever holds a Lease that was deleted finds out when it renews its claim.
            let now = Instant::now();
            return match self.theirs.filter(|until| now < *until) {
                Some(until) => Ok(Round::Follows(until, None)),
                None => self.claim(None, patience).await,
            };
        };
        match self.decide(&lease) {
            Step::Wait(until) => Ok(Round::Follows(until, Some(Box::new(lease)))),
            Step::Claim => self.claim(Some(lease), patience).await,
        }
    }

    fn decide(&mut self, lease: &Lease) -> Step {
        let now = Instant::now();
        let Candidate {
            identity,
            lease_duration,
            ..
        } = &self.candidate;
        let seen = lease::sight(self.seen.take(), lease, now);
        let step = lease::step(lease, identity, &seen, *lease_duration, now);
        self.seen = Some(seen);
        self.theirs = match step {
            Step::Wait(until) => Some(until),
            Step::Claim => None,
        };
        step
    }

    /// Writes our claim. The resourceVersion lets only one of several do so.
    async fn claim(&mut self, lease: Option<Lease>, patience: Duration) -> anyhow::Result<Round> {
        let Candidate {
            lease: name,
            identity,
            lease_seconds,
            renew_deadline,
            ..
        } = &self.candidate;
        let new = lease.is_none();
        let named = || Lease {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        };
        let lease = lease::claimed(
            lease.unwrap_or_else(named),
            identity,
            *lease_seconds,
            Timestamp::now(),
        );
        let params = PostParams::default();
        let sent = Instant::now();
        let written = if new {
            in_time(patience, self.leases.create(&params, &lease)).await?
        } else {
            in_time(patience, self.leases.replace(name, &params, &lease)).await?
        };
        match written {
            Ok(lease) => {
                self.note(Some(&lease));
                self.shared.standing().until = Some(sent + *renew_deadline);
                Ok(Round::Leads)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(Round::Raced)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes over what the API server said. A Lease that is not ours ends our claim at once.
    fn note(&self, lease: Option<&Lease>) {
        let holder = lease.map(lease::holder).unwrap_or_default();
        let mut standing = self.shared.standing();
        standing.contact = Some(Instant::now());
        standing.trouble.clear();
        if standing.holder != holder {
            holder.clone_into(&mut standing.holder);
        }
        if holder != self.candidate.identity {
            standing.until = None;
        }
    }

    /// Logs and counts a change of what the app is told.
    fn tell(&mut self) {
        let leading = self.shared.standing().leads(Instant::now());
        if leading == self.leading {
            return;
        }
        self.leading = leading;
        if leading {
            self.shared.elected.inc();
            tracing::info!("leading");
        } else {
            self.shared.lost.inc();
            tracing::warn!("not leading any more");
        }
    }

    /// Returns when the Lease has changed hands or was given back, and at `until` at the latest.
    async fn change(&mut self, until: Instant, lease: Option<Box<Lease>>) {
        let retry = Instant::now() + self.candidate.retry_period;
        if let Some(lease) = lease
            && self.blind.is_none_or(|until| until <= Instant::now())
            && self.watch(until, &lease).await.is_some()
        {
            return;
        }
        sleep_until(until.min(retry)).await;
    }

    /// Nothing where the watch broke off.
    async fn watch(&mut self, mut until: Instant, lease: &Lease) -> Option<()> {
        let Candidate {
            lease: name,
            renew_deadline,
            ..
        } = &self.candidate;
        let renew_deadline = *renew_deadline;
        let version = lease.metadata.resource_version.as_deref()?;
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let events = match timeout(
            self.candidate.renew_deadline / 2,
            self.leases.watch(&params, version),
        )
        .await
        .ok()?
        {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                if self.blind.replace(Instant::now() + BLIND).is_none() {
                    tracing::warn!(
                        "the role lacks `watch` on the Lease: hand-overs are seen a retry period later"
                    );
                }
                return None;
            }
            Err(_) => return None,
        };
        pin_mut!(events);
        loop {
            let event = tokio::select! {
                event = events.next() => event?.ok()?,
                // A holder that is silent, or a server that is: the next reading tells.
                () = sleep_until(until.min(Instant::now() + renew_deadline)) => return Some(()),
            };
            let lease = match event {
                WatchEvent::Added(lease) | WatchEvent::Modified(lease) => lease,
                WatchEvent::Deleted(_) => return Some(()),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(_) => return None,
            };
            self.note(Some(&lease));
            match self.decide(&lease) {
                Step::Wait(later) => until = later,
                Step::Claim => return Some(()),
            }
        }
    }

    /// Stops leading first, and then lets the next one know.
    async fn release(&mut self) {
        self.shared.standing().until = None;
        let released = timeout(RELEASE, async {
            // A claim that was being written when we stopped may have made the version that we know an old one.
            loop {
                let lease = self.leases.get(&self.candidate.lease).await?;
                if lease::holder(&lease) != self.candidate.identity {
                    return Ok(false);
                }
                let lease = lease::released(lease, Timestamp::now());
                match self
                    .leases
                    .replace(&self.candidate.lease, &PostParams::default(), &lease)
                    .await
                {
                    Err(kube::Error::Api(status)) if status.is_conflict() => {}
                    written => return written.map(|_| true),
                }
            }
        });
        match released.await {
            Ok(Ok(true)) => {
                self.shared.standing().holder.clear();
                tracing::info!("gave the Lease back");
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease is not given back: the next leader waits until it runs out");
            }
            Err(_) => tracing::warn!(
                "the Lease is not given back in time: the next leader waits until it runs out"
            ),
        }
    }
}

async fn in_time<F: Future>(patience: Duration, request: F) -> anyhow::Result<F::Output> {
    timeout(patience, request)
        .await
        .map_err(|_| anyhow!("no answer in {patience:?}"))
}

/// What the API server says of itself is a sentence; kube's error adds all of its fields to it.
fn sentence(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) => status.message.clone(),
        _ => format!("{error:#}"),
    }
}
