//! The app: where items go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Uri};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::metrics::Metrics;
use crate::backoff::backoff;
use crate::{names, outgoing};

const CONNECT: Duration = Duration::from_secs(2);
/// More of an answer's body is not waited for: nobody reads it.
const ANSWER: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Worker {
    client: outgoing::Plain,
    url: Uri,
    authority: String,
    content_type: HeaderValue,
    handler_timeout: Duration,
    /// Whether the app accepted the last connection.
    there: AtomicBool,
}

/// How an attempt went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// 2xx.
    Done,
    /// Anything else that the app is to blame for.
    Failed(String),
    /// Nobody listened: the item has not been seen.
    Unreachable(String),
}

impl Worker {
    pub(super) fn new(
        url: Uri,
        content_type: &str,
        handler_timeout: Duration,
    ) -> anyhow::Result<Self> {
        let host = url.host().unwrap_or_default();
        ensure!(
            url.scheme_str() == Some("http") && !host.is_empty(),
            "`--worker-url` is `{url}`: expected http://host:port/path"
        );
        Ok(Self {
            client: outgoing::client(CONNECT),
            authority: format!("{host}:{}", url.port_u16().unwrap_or(80)),
            content_type: HeaderValue::from_str(content_type)
                .with_context(|| format!("`--content-type` is `{content_type}`"))?,
            url,
            handler_timeout,
            there: AtomicBool::new(false),
        })
    }

    /// Hands one item over and waits for the app's word.
    pub(super) async fn post(
        &self,
        id: &str,
        attempt: u32,
        body: Bytes,
        metrics: &Metrics,
    ) -> Attempt {
        let start = Instant::now();
        let attempt = match timeout(self.handler_timeout, self.ask(id, attempt, body)).await {
            Ok(attempt) => attempt,
            Err(_) => Attempt::Failed(format!("no answer within {:?}", self.handler_timeout)),
        };
        match attempt {
            Attempt::Unreachable(_) => self.there.store(false, Ordering::Relaxed),
            _ => metrics.took.observe(start.elapsed().as_secs_f64()),
        }
        attempt
    }

    async fn ask(&self, id: &str, attempt: u32, body: Bytes) -> Attempt {
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, &self.content_type)
            .header(names::ITEM_ID, id)
            .header(names::ATTEMPT, attempt)
            .body(outgoing::Body::new(body));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Attempt::Failed(error.to_string()),
        };
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Attempt::Unreachable(cause(&error)),
            Err(error) => return Attempt::Failed(cause(&error)),
        };
        let status = answer.status();
        // Read, so that the connection serves the next item, too.
        let _ = Limited::new(answer.into_body(), ANSWER).collect().await;
        if status.is_success() {
            Attempt::Done
        } else {
            Attempt::Failed(format!("status {}", status.as_u16()))
        }
    }

    /// Waits until the app accepts connections, if it did not when it was last tried.
    pub(super) async fn reachable(&self, metrics: &Metrics) {
        if self.there.load(Ordering::Relaxed) {
            return;
        }
        let mut failures = 0;
        loop {
            let error = match timeout(CONNECT, TcpStream::connect(&self.authority)).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            metrics.reachable.set(0);
            failures += 1;
            if failures == 1 {
                tracing::info!(
                    worker = self.authority,
                    error,
                    "the app cannot be reached: no items are taken until it can"
                );
            }
            sleep(backoff(
                Duration::from_millis(50),
                Duration::from_secs(1),
                failures,
            ))
            .await;
        }
        self.there.store(true, Ordering::Relaxed);
        metrics.reachable.set(1);
        if failures > 0 {
            tracing::info!(worker = self.authority, "the app is there");
        }
    }
}

/// The innermost reason: the others only say that the request failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
