//! The one place where what `inject` found becomes a response, metrics and a log line.
//!
//! A sentence goes to whoever sent the Pod, and into the Events of its owner: it may quote a value. Metrics and logs get codes and names.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Response as HttpResponse, StatusCode, header};
use serde_json::value::RawValue;

use super::metrics::{Label, Outcome, Stage};
use super::review::{OBJECT, Request, Response, Unreadable};
use super::{State, advise};
use crate::catalog::Namespace;
use crate::entries::Entry;
use crate::inject::{self, Context, Decision};
use crate::kubernetes::mapping::Mapping;
use crate::kubernetes::owner::Owner;
use crate::kubernetes::pod::{Parts, Pod};
use crate::text::excerpt;

/// More warnings than these are counted, not shown: the API server cuts all of a request's at 4 096 characters together.
const MAX_WARNINGS: usize = 5;
/// Characters of a warning (`k8s.io/api/admission/v1`: "Limit warning messages to 120 characters if possible").
const MAX_WARNING: usize = 120;
/// Characters of a denial: several sentences, each of which is bounded.
const MAX_DENIAL: usize = 4096;
/// Characters of an audit annotation.
const MAX_AUDIT: usize = 1024;

/// What is answered, and what is said about it elsewhere.
pub(super) struct Verdict<'a> {
    pub(super) outcome: Outcome,
    pub(super) response: Response<'a>,
    pub(super) decisions: Vec<Decision>,
    /// The object's name, or what it will be made of.
    pub(super) name: String,
    /// Who is told about a Pod, if anybody made it.
    pub(super) owner: Option<Owner>,
    pub(super) patch_bytes: usize,
}

/// A namespace that the cluster may have, and that its watch has not told us of yet.
pub(super) struct Unknown(pub(super) String);

/// A review's bytes in, the answer out; `asked` is the namespace where the cluster had to be asked for it.
pub(super) fn answer(
    state: &State,
    entry: Entry,
    body: &[u8],
    asked: Option<&Namespace>,
) -> Result<HttpResponse<Body>, Unknown> {
    let started = Instant::now();
    // One pass for UTF-8 is cheaper than serde_json's check of each string.
    let Ok(text) = std::str::from_utf8(body) else {
        let sentence = "the body is not UTF-8".to_owned();
        return Ok(refuse(
            state,
            entry,
            Unreadable {
                uid: None,
                sentence,
            },
        ));
    };
    let world = state.world.load();
    let moment = (started, body.len());
    let namespace = |name: &str| match asked {
        Some(namespace) => Ok(Cow::Borrowed(namespace)),
        None if world.lacks(name) || entry == Entry::Namespace && world.doubts(name) => {
            Err(Unknown(name.to_owned()))
        }
        None => Ok(world.namespace(name)),
    };
    let catalog = &world.catalog;
    // The Pod is read in the same pass as the review around it. What does not get through here is no Pod, or a strange one.
    if entry != Entry::Advise
        && let Ok(mut request) = Request::<Mapping<Parts<'_>>>::read(text)
        && request.creates_a_pod()
        && let Some(Mapping(parts)) = request.object.take()
    {
        let pod = Pod::within(parts, text, OBJECT);
        let namespace = &*namespace(&request.namespace)?;
        let verdict = mutate(&request, &pod, &Context { namespace, catalog });
        return Ok(finish(state, entry, &request, &verdict, moment));
    }
    match Request::<&RawValue>::read(text) {
        Err(unreadable) => Ok(refuse(state, entry, unreadable)),
        Ok(request) => {
            let verdict = if entry != Entry::Advise && !request.creates_a_pod() {
                Verdict::ignored(&request.uid)
            } else {
                let namespace = &*namespace(&request.namespace)?;
                let context = Context { namespace, catalog };
                match entry {
                    Entry::Advise => advise::advise(&request, &context),
                    _ => odd(&request, &context),
                }
            };
            Ok(finish(state, entry, &request, &verdict, moment))
        }
    }
}

/// The room behind the three entries.
fn mutate<'a, O>(request: &'a Request<'_, O>, pod: &Pod<'_>, context: &Context<'_>) -> Verdict<'a> {
    Verdict {
        name: pod.metadata.name_or_generated(&request.name),
        owner: pod.metadata.owner(),
        ..Verdict::of(&request.uid, inject::inject_pod(pod, context))
    }
}

/// A Pod that did not come through with its review: it reads by itself, or it is denied.
fn odd<'a>(request: &'a Request<'_, &RawValue>, context: &Context<'_>) -> Verdict<'a> {
    let uid = &*request.uid;
    let Some(object) = request.object else {
        return Verdict::ignored(uid);
    };
    match Pod::read(object.get().as_bytes()) {
        Ok(pod) => mutate(request, &pod, context),
        Err(error) => Verdict {
            outcome: Outcome::Denied,
            response: Response::denied(uid, excerpt(&error.to_string(), MAX_DENIAL)),
            name: request.name.to_string(),
            ..Verdict::ignored(uid)
        },
    }
}

/// The last steps, the same for every review that could be read.
fn finish<O>(
    state: &State,
    entry: Entry,
    request: &Request<'_, O>,
    verdict: &Verdict<'_>,
    (started, bytes): (Instant, usize),
) -> HttpResponse<Body> {
    let metrics = &state.metrics;
    let decided = started.elapsed();
    metrics.took(Stage::Decide, decided);
    let json = verdict.response.to_json();
    metrics.took(Stage::Respond, started.elapsed().saturating_sub(decided));
    record(state, entry, verdict);
    log(entry, request, verdict, bytes, decided);
    // A denial is in the owner's events anyway, and nothing was injected then.
    if let (Some(events), Some(owner)) = (&state.events, &verdict.owner)
        && request.dry_run != Some(true)
        && verdict.outcome != Outcome::Denied
    {
        events.tell(&request.namespace, owner, &verdict.decisions);
    }
    respond(StatusCode::OK, "application/json", json)
}

impl<'a> Verdict<'a> {
    /// Nothing that concerns us.
    pub(super) fn ignored(uid: &'a str) -> Self {
        Self {
            outcome: Outcome::Ignored,
            response: Response::allowed(uid),
            decisions: Vec::new(),
            name: String::new(),
            owner: None,
            patch_bytes: 0,
        }
    }

    fn of(uid: &'a str, found: inject::Outcome) -> Self {
        let denial = denial(&found);
        let warnings = shorten(found.warnings(), MAX_WARNING);
        let (outcome, mut response, patch_bytes) = match denial {
            Some(sentence) => (Outcome::Denied, Response::denied(uid, sentence), 0),
            None if found.patch.is_empty() => (Outcome::Unchanged, Response::allowed(uid), 0),
            None => {
                let patch = found.patch.to_json();
                (
                    Outcome::Injected,
                    Response::patched(uid, &patch),
                    patch.len(),
                )
            }
        };
        response.warnings = warnings;
        if !found.decisions.is_empty() {
            response.audit_annotations = [
                ("decision", outcome.name().to_owned()),
                ("instances", excerpt(&codes(&found.decisions), MAX_AUDIT)),
            ]
            .into();
        }
        Self {
            outcome,
            response,
            decisions: found.decisions,
            name: String::new(),
            owner: None,
            patch_bytes,
        }
    }
}

/// The sentences of every denial; `None` if there is none.
pub(super) fn denial(found: &inject::Outcome) -> Option<String> {
    let sentences: Vec<&str> = found
        .denials()
        .map(|decision| decision.sentence.as_str())
        .collect();
    (!sentences.is_empty()).then(|| excerpt(&sentences.join("; "), MAX_DENIAL))
}

/// At most so many, of at most so many characters, one line each; what is left out is counted.
pub(super) fn shorten<'w>(
    warnings: impl Iterator<Item = &'w str>,
    characters: usize,
) -> Vec<String> {
    let mut short: Vec<String> = warnings
        .map(|warning| excerpt(&format!("outrigger: {warning}"), characters))
        .collect();
    if short.len() > MAX_WARNINGS {
        let more = short.len() - (MAX_WARNINGS - 1);
        short.truncate(MAX_WARNINGS - 1);
        short.push(format!(
            "outrigger: {more} more warnings; `outrigger explain -f` shows them all"
        ));
    }
    short
}

/// `https=injected/asked redis-metrics=skipped/opted-out`: names and codes only.
fn codes(decisions: &[Decision]) -> String {
    let mut text = String::new();
    for decision in decisions {
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "{space}{}={}/{}",
            decision.instance,
            decision.verdict,
            decision.reason.code()
        );
    }
    text
}

fn record(state: &State, entry: Entry, verdict: &Verdict<'_>) {
    let State { metrics, world, .. } = state;
    let home = &world.load().catalog.home;
    metrics.answered(entry, verdict.outcome);
    if verdict.patch_bytes > 0 {
        metrics.patched(verdict.patch_bytes);
    }
    for decision in &verdict.decisions {
        metrics.decided(decision, home);
    }
}

fn log<O>(
    entry: Entry,
    request: &Request<'_, O>,
    verdict: &Verdict<'_>,
    bytes: usize,
    decided: Duration,
) {
    let line = |text: &str| excerpt(text, 253);
    tracing::info!(
        uid = line(&request.uid),
        webhook = entry.name(),
        namespace = line(&request.namespace),
        kind = line(&request.kind.kind),
        name = line(&verdict.name),
        operation = line(&request.operation),
        dry_run = request.dry_run.unwrap_or(false),
        verdict = verdict.outcome.name(),
        instances = excerpt(&codes(&verdict.decisions), MAX_AUDIT),
        bytes,
        patch_bytes = verdict.patch_bytes,
        micros = u64::try_from(decided.as_micros()).unwrap_or(u64::MAX),
        "reviewed"
    );
}

/// A 400: with a review around the sentence if there is a uid to answer to, else with the sentence alone.
fn refuse(state: &State, entry: Entry, unreadable: Unreadable) -> HttpResponse<Body> {
    state.metrics.answered(entry, Outcome::Unreadable);
    tracing::warn!(webhook = entry.name(), "unreadable");
    let Unreadable { uid, sentence } = unreadable;
    let sentence = excerpt(&sentence, MAX_DENIAL);
    match uid {
        Some(uid) => respond(
            StatusCode::BAD_REQUEST,
            "application/json",
            Response::denied(&uid, sentence).to_json(),
        ),
        None => respond(
            StatusCode::BAD_REQUEST,
            "text/plain; charset=utf-8",
            format!("{sentence}\n").into_bytes(),
        ),
    }
}

/// An answer of one piece.
pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Body>,
) -> HttpResponse<Body> {
    let mut response = HttpResponse::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_few_and_short_and_on_one_line() {
        let long = "ä\n".repeat(200);
        let many = vec![long.as_str(); 7];
        let short = shorten(many.into_iter(), MAX_WARNING);
        assert_eq!(short.len(), MAX_WARNINGS);
        for warning in &short {
            assert!(warning.chars().count() <= MAX_WARNING, "{warning}");
            assert!(!warning.contains(char::is_control), "{warning}");
        }
        assert_eq!(
            short[4],
            "outrigger: 3 more warnings; `outrigger explain -f` shows them all"
        );
        assert_eq!(shorten(["a"].into_iter(), MAX_WARNING), ["outrigger: a"]);
    }
}
