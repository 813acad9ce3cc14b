//! The webhook server: AdmissionReviews in over TLS, JSON patches out.
//!
//! ```text
//!            listener             app                 verdict
//!  TLS ──▶ connections ──▶ entries, bounds ──▶ review ─▶ inject ─▶ response, metrics, log line
//!            │                                  ▲
//!            │ timeouts, drain                  │ world (patterns, bindings, namespaces)
//!  plain ──▶ admin: /livez /readyz /metrics     │
//!                        ▲                      │
//!  runtime ── binds, spawns, refreshes ─────────┘ and ends it all
//! ```
//!
//! Handlers hold no state of their own: a request sees one world and one certificate, whatever is exchanged meanwhile.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use axum::routing::post;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tower_http::catch_panic::CatchPanicLayer;

mod admin;
mod advise;
mod body;
mod cluster;
mod health;
mod life;
mod listener;
mod logging;
mod metrics;
mod refresh;
mod review;
mod runtime;
mod timeouts;
mod verdict;

use health::Health;
use metrics::{Label, Metrics, Rejection, Stage};

use crate::catalog::Catalog;
use crate::cluster::events::Events;
use crate::cluster::lookup::Lookup;
use crate::entries::Entry;
use crate::tls::{Tls, TlsArgs};
use crate::world::World;

pub(crate) use runtime::{ServeArgs, run};

/// How long a request may wait for its turn before it is sent away. The API server tries again a second later, within its timeout.
const QUEUE: Duration = Duration::from_millis(250);

/// What requests share.
#[derive(Debug)]
pub(crate) struct State {
    world: ArcSwap<World>,
    tls: Arc<Tls>,
    /// Where namespaces are looked up that the world lacks.
    lookup: Option<Lookup>,
    /// Where Pods' owners are told.
    events: Option<Events>,
    metrics: Metrics,
    health: Health,
    in_flight: Semaphore,
    room: body::Room,
}

impl State {
    fn new(tls: Arc<Tls>, world: World, max_in_flight: usize) -> Self {
        Self {
            world: ArcSwap::from_pointee(world),
            tls,
            lookup: None,
            events: None,
            metrics: Metrics::new(),
            health: Health::new(),
            in_flight: Semaphore::new(max_in_flight),
            room: body::Room::new(),
        }
    }
}

/// The webhook without its sockets: the answer to a body posted to a path, `None` where no entry has that path. It knows `catalog`, and
/// nothing of any namespace.
pub fn answers(catalog: Catalog) -> anyhow::Result<impl Fn(&str, &[u8]) -> Option<Response<Body>>> {
    let tls = Tls::load(&TlsArgs::default(), &[], SystemTime::now())?;
    let state = State::new(tls.into(), World::of(catalog), 1);
    Ok(move |path: &str, body: &[u8]| {
        let entry = Entry::ALL.into_iter().find(|entry| entry.path() == path)?;
        verdict::answer(&state, entry, body, None).ok()
    })
}

/// The webhook port: the entries and nothing else; another path is a 404, another method a 405, both without a body.
fn app(state: &Arc<State>) -> Router {
    let entries = Entry::ALL.iter().fold(Router::new(), |router, entry| {
        let state = state.clone();
        router.route(
            entry.path(),
            post(move |request| review(state, *entry, request)),
        )
    });
    contained(entries, state)
}

/// A panic in a request is that request's 500, and is counted.
fn contained(router: Router, state: &Arc<State>) -> Router {
    let state = state.clone();
    router.layer(CatchPanicLayer::custom(move |_| {
        state.metrics.panics.inc();
        status(StatusCode::INTERNAL_SERVER_ERROR)
    }))
}

/// One review, within its bounds.
async fn review(state: Arc<State>, entry: Entry, request: Request) -> Response<Body> {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let deadline = started + body::patience(&head.uri);
    let Ok(Ok(_permit)) = timeout(QUEUE, state.in_flight.acquire()).await else {
        body::discard(body).await;
        return reject(&state, entry, Rejection::TooManyRequests);
    };
    let _guest = Guest::enter(&state.metrics);
    if !is_json(&head.headers) {
        body::discard(body).await;
        return reject(&state, entry, Rejection::ContentType);
    }
    match body::read(&head.headers, body, deadline, &state.room).await {
        Err(rejection) => reject(&state, entry, rejection),
        Ok(body) => {
            state.metrics.took(Stage::Receive, started.elapsed());
            state.metrics.received(body.bytes.len());
            answer(&state, entry, &body.bytes).await
        }
    }
}

/// The answer to a body; where it is about a namespace that nobody has told us of yet, after having asked.
async fn answer(state: &State, entry: Entry, body: &[u8]) -> Response<Body> {
    let unknown = match verdict::answer(state, entry, body, None) {
        Ok(response) => return response,
        Err(unknown) => unknown,
    };
    let found = match &state.lookup {
        Some(lookup) => lookup.namespace(&unknown.0).await,
        None => None,
    };
    found
        .and_then(|namespace| verdict::answer(state, entry, body, Some(&namespace)).ok())
        .unwrap_or_else(|| reject(state, entry, Rejection::UnknownNamespace))
}

fn is_json(headers: &axum::http::HeaderMap) -> bool {
    let is = |name, expected: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value
                    .split(';')
                    .next()
                    .is_some_and(|kind| kind.trim().eq_ignore_ascii_case(expected))
            })
    };
    is(header::CONTENT_TYPE, "application/json")
        && (!headers.contains_key(header::CONTENT_ENCODING)
            || is(header::CONTENT_ENCODING, "identity"))
}

/// An answer without a review: the body was not read, or not whole.
fn reject(state: &State, entry: Entry, rejection: Rejection) -> Response<Body> {
    state.metrics.rejected(rejection);
    tracing::warn!(
        webhook = entry.name(),
        reason = rejection.name(),
        "rejected"
    );
    let mut response = status(match rejection {
        Rejection::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        Rejection::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Rejection::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        Rejection::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Rejection::BodyBroken | Rejection::TooManyConnections | Rejection::Handshake => {
            StatusCode::BAD_REQUEST
        }
        Rejection::UnknownNamespace => StatusCode::SERVICE_UNAVAILABLE,
    });
    if matches!(
        rejection,
        Rejection::TooManyRequests | Rejection::UnknownNamespace
    ) {
        // client-go repeats a webhook call that is answered so (`rest/with_retry.go`).
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A request in flight, for the gauge.
struct Guest<'a>(&'a Metrics);

impl<'a> Guest<'a> {
    fn enter(metrics: &'a Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    fn state() -> Arc<State> {
        let tls = Tls::load(&TlsArgs::default(), &[], SystemTime::now()).unwrap();
        State::new(tls.into(), World::of(Catalog::default()), 1).into()
    }

    #[tokio::test]
    async fn a_panic_is_one_requests_500() {
        let state = state();
        let panics = async || -> &'static str { panic!("in a request") };
        let router = Router::new()
            .route("/panics", get(panics))
            .route("/works", get(async || "ok"));
        let service = TowerToHyperService::new(contained(router, &state));
        let ask = async |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            service.call(request).await.unwrap().status()
        };
        assert_eq!(ask("/panics").await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(ask("/works").await, StatusCode::OK);
        assert_eq!(state.metrics.panics.get(), 1);
    }
}
