//! The plain port: probes, metrics, and the CA that clients have to trust. Nothing here is secret, nothing here changes anything.

use std::sync::Arc;

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Deserialize;

use super::State;
use super::verdict::respond;

/// `?verbose`, with any value or none.
#[derive(Debug, Deserialize)]
struct Verbosity {
    verbose: Option<String>,
}

/// `/livez`, `/readyz`, `/metrics`, `/ca.pem`.
pub(super) fn app(state: &Arc<State>) -> Router {
    let (ready, metrics, ca) = (state.clone(), state.clone(), state.clone());
    Router::new()
        // Alive is who answers; whether work can be done is for /readyz.
        .route("/livez", get(async || "ok\n"))
        .route(
            "/readyz",
            get(
                async move |Query(Verbosity { verbose }): Query<Verbosity>| {
                    let (is_ready, report) = ready.health.report();
                    let status = if is_ready {
                        StatusCode::OK
                    } else {
                        StatusCode::SERVICE_UNAVAILABLE
                    };
                    let text = if verbose.is_some() || !is_ready {
                        report
                    } else {
                        "ok\n".to_owned()
                    };
                    respond(status, "text/plain; charset=utf-8", text)
                },
            ),
        )
        .route(
            "/metrics",
            get(async move || {
                respond(
                    StatusCode::OK,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    metrics.metrics.text(),
                )
            }),
        )
        .route(
            "/ca.pem",
            get(async move || match ca.tls.ca_pem() {
                Some(pem) => respond(StatusCode::OK, "application/x-pem-file", pem),
                None => StatusCode::NOT_FOUND.into_response(),
            }),
        )
}
