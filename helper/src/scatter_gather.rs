//! Scatter and gather: one request on localhost goes to all leaves, and their answers come back as one.
//!
//! ```text
//!                              ┌─▶ leaf 1 ─┐
//!  app ──request──▶ question ──┼─▶ leaf 2 ─┼──▶ merge ──▶ answer, X-Leaves: 3/4
//!                              └─▶ leaf … ─┘
//! ```
//!
//! Who is late, fails, or talks too much is left out, and named in X-Leaves-Missing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

mod ask;
mod leaves;
mod merge;

use crate::admin::{Admin, AdminArgs};
use crate::life::Life;
use crate::port::Port;
use crate::{names, outgoing, settings};

use ask::{Answer, Memory, Miss, Outcome, Question, Unread};
use leaves::{Authority, Leaf, Leaves};
use merge::{MOST_ITEMS, Merge, Order, Shape, TooMany};

/// Bytes that are read and merged in less time than it takes to hand them to another thread.
const SMALL: usize = 64 * 1024;
/// Leaves that X-Leaves-Missing names; headers have their limits.
const NAMED: usize = 50;

/// Send each request on localhost to all leaves, and answer with their answers merged
///
/// Method, path, query, headers and body reach every leaf over HTTP/1.1; headers between neighbours do not, and Host is the leaf's.
/// Leaves that answer 2xx with JSON within the leaf timeout are merged; the answer has `X-Leaves: 3/4`, and `X-Leaves-Missing` with
/// the others and why. Fewer than `--min-leaves` is 504, no leaf known 503.
#[derive(Debug, Args)]
pub(crate) struct ScatterGatherArgs {
    /// Name and port; each of its addresses is a leaf, such as every Pod of a headless Service. It is asked for anew when the
    /// records' time to live is over
    #[arg(long = "leaf", value_name = "HOST:PORT", required = true, value_parser = Authority::parse, value_delimiter = ',', env = "OUTRIGGER_LEAVES")]
    leaves: Vec<Authority>,
    /// How long a leaf may take, from the first byte sent to the last one read
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = settings::duration, env = "OUTRIGGER_LEAF_TIMEOUT")]
    leaf_timeout: Duration,
    /// Good answers without which there is none
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        env = "OUTRIGGER_MIN_LEAVES"
    )]
    min_leaves: u16,
    /// How answers become one
    #[arg(long, value_enum, default_value_t = Merge::Deep, env = "OUTRIGGER_MERGE")]
    merge: Merge,
    /// Where the list is that is sorted and cut, such as `result.hits`; the answer itself, if it is left out
    #[arg(long, value_name = "PATH", env = "OUTRIGGER_LIST")]
    list: Option<String>,
    /// Field that the list's items are sorted by, such as `score`; `-score` for the greatest first
    #[arg(long, value_name = "[-]FIELD", value_parser = Order::parse, allow_hyphen_values = true, env = "OUTRIGGER_SORT_BY")]
    sort_by: Option<Order>,
    /// Items that are left of the list
    #[arg(long, value_name = "N", env = "OUTRIGGER_LIMIT")]
    limit: Option<usize>,
    /// Bytes of a request's body, and of a leaf's answer
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, env = "OUTRIGGER_MAX_BYTES")]
    max_bytes: usize,
    /// Bytes of all bodies that are held at once; merging takes as much again
    #[arg(long, value_name = "BYTES", default_value_t = 48 << 20, env = "OUTRIGGER_MAX_TOTAL_BYTES")]
    max_total_bytes: usize,
    /// Requests at once; more get 503
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..), env = "OUTRIGGER_MAX_REQUESTS")]
    max_requests: u16,
    /// Where the app asks
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8090",
        env = "OUTRIGGER_LISTEN"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What every request needs.
#[derive(Debug)]
struct Root {
    leaves: Leaves,
    client: outgoing::Plain,
    leaf_timeout: Duration,
    min_leaves: usize,
    merge: Merge,
    shape: Shape,
    max_bytes: usize,
    memory: Arc<Memory>,
    places: Semaphore,
    metrics: Metrics,
}

#[derive(Debug)]
struct Metrics {
    requests: Family<ByCode, Counter>,
    answers: Family<ByOutcome, Counter>,
    took: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Outcome,
}

/// Serves until the end of `life`, and then finishes what is under way.
pub(crate) async fn run(args: ScatterGatherArgs, life: Life) -> anyhow::Result<()> {
    let ScatterGatherArgs {
        leaves,
        leaf_timeout,
        min_leaves,
        merge,
        list,
        sort_by,
        limit,
        max_bytes,
        max_total_bytes,
        max_requests,
        listen,
        admin,
    } = args;
    ensure!(
        max_bytes <= max_total_bytes,
        "`--max-bytes` ({max_bytes}) is more than `--max-total-bytes` ({max_total_bytes})"
    );
    let list = list
        .map(|path| merge::parse_path(&path))
        .transpose()
        .map_err(anyhow::Error::msg)?;
    let shapeless = list.is_none() && sort_by.is_none() && limit.is_none();
    ensure!(
        shapeless || matches!(merge, Merge::Deep | Merge::Concat),
        "`--list`, `--sort-by` and `--limit` need `--merge deep` or `--merge concat`"
    );
    ensure!(
        merge != Merge::First || min_leaves <= 1,
        "`--min-leaves` is {min_leaves}, and `--merge first` takes one answer"
    );
    let root = Arc::new(Root {
        leaves: Leaves::new(leaves)?,
        // Longer than the leaf's own time, which is told from a refusal then.
        client: outgoing::client(leaf_timeout + Duration::from_secs(1)),
        leaf_timeout,
        min_leaves: min_leaves.into(),
        merge,
        shape: Shape {
            list: list.unwrap_or_default(),
            order: sort_by,
            limit,
        },
        max_bytes,
        memory: Memory::new(max_total_bytes),
        places: Semaphore::new(max_requests.into()),
        metrics: Metrics {
            requests: Family::default(),
            answers: Family::default(),
            took: Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]),
        },
    });
    let port = Port::bind(listen, usize::from(max_requests) * 2).await?;
    tracing::info!(address = %port.address()?, "serving");
    let admin = admin.serve(root.metrics.health(), &life).await?;
    let router = Router::new().fallback(scatter).with_state(root);
    // The slowest leaf, and a little for the way back.
    port.serve(router, life, leaf_timeout + Duration::from_secs(2))
        .await;
    let _ = admin.await;
    Ok(())
}

impl Metrics {
    fn health(&self) -> Admin {
        let mut metrics = Registry::with_prefix("scatter_gather");
        metrics.register(
            "requests",
            "Requests of the app, by status",
            self.requests.clone(),
        );
        metrics.register(
            "leaf_answers",
            "What leaves answered, by outcome",
            self.answers.clone(),
        );
        metrics.register_with_unit(
            "request",
            "How long requests took",
            Unit::Seconds,
            self.took.clone(),
        );
        Admin {
            metrics,
            unready: Arc::new(|| None),
            drain: None,
            more: Router::new(),
        }
    }
}

async fn scatter(State(root): State<Arc<Root>>, request: Request) -> Response {
    let start = Instant::now();
    let response = match root.places.try_acquire() {
        // A tunnel has one end.
        Ok(_) if request.method() == Method::CONNECT => refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "`CONNECT` is for proxies",
            None,
        ),
        Ok(_place) => root.answer(request).await,
        Err(_) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests at once",
            None,
        ),
    };
    root.metrics
        .requests
        .get_or_create(&ByCode {
            code: response.status().as_u16(),
        })
        .inc();
    root.metrics.took.observe(start.elapsed().as_secs_f64());
    response
}

/// An answer of our own.
fn refuse(status: StatusCode, error: &str, leaves: Option<(usize, usize)>) -> Response {
    let mut body = json!({"error": error});
    if let Some((answered, of)) = leaves {
        body["answered"] = answered.into();
        body["of"] = of.into();
    }
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}

/// Who has answered what, so far.
#[derive(Default)]
struct Gathered {
    good: Vec<(usize, Answer)>,
    missing: Vec<(usize, String, Miss)>,
}

impl Root {
    async fn answer(self: &Arc<Self>, request: Request) -> Response {
        let (mut head, body) = request.into_parts();
        let body = match ask::read(body, self.max_bytes, &self.memory).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => {
                return refuse(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the request's body is too large",
                    None,
                );
            }
            Err(Unread::NoMemory) => {
                return refuse(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many bytes are held at once",
                    None,
                );
            }
            Err(Unread::Broken) => {
                return refuse(
                    StatusCode::BAD_REQUEST,
                    "the request's body breaks off",
                    None,
                );
            }
        };
        ask::pass_on(&mut head.headers);
        head.headers.remove(header::ACCEPT_ENCODING);
        let question = Question {
            method: head.method,
            path_and_query: head
                .uri
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
            headers: head.headers,
            body: body.bytes.clone(),
        };
        let (leaves, absent) = self.leaves.now().await;
        let of = leaves.len() + absent.len();
        if leaves.is_empty() {
            return refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("no leaf is known: {} has no address", absent.join(", ")),
                None,
            );
        }
        let mut gathered = self.gather(&leaves, &question).await;
        let absent = absent.into_iter().zip(leaves.len()..);
        gathered
            .missing
            .extend(absent.map(|(name, place)| (place, name, Miss::NoAddress)));
        self.count(&gathered);
        // As the leaves are, not as their answers came.
        gathered.good.sort_by_key(|(place, _)| *place);
        gathered.missing.sort_by_key(|(place, ..)| *place);
        let answered = gathered.good.len();
        let missing = missing(&gathered.missing);
        let mut response = if answered < self.min_leaves.max(1) && self.merge != Merge::Raw
            || answered < self.min_leaves
        {
            let too_large = gathered
                .missing
                .iter()
                .any(|(.., miss)| *miss == Miss::TooLarge);
            let status = if too_large {
                StatusCode::BAD_GATEWAY
            } else {
                StatusCode::GATEWAY_TIMEOUT
            };
            refuse(status, "too few leaves answered", Some((answered, of)))
        } else {
            self.respond(leaves, gathered).await
        };
        let headers = response.headers_mut();
        if let Ok(count) = HeaderValue::try_from(format!("{answered}/{of}")) {
            headers.insert(names::LEAVES, count);
        }
        if let Some(missing) = missing {
            headers.insert(names::LEAVES_MISSING, missing);
        }
        response
    }

    /// Asks all leaves at once.
    async fn gather(&self, leaves: &[Leaf], question: &Question) -> Gathered {
        let mut asked: FuturesUnordered<_> = leaves
            .iter()
            .enumerate()
            .map(async |(place, leaf)| {
                let answer = ask::ask(
                    &self.client,
                    leaf,
                    question,
                    self.leaf_timeout,
                    self.max_bytes,
                    &self.memory,
                )
                .await;
                let any = matches!(self.merge, Merge::First | Merge::Raw);
                match answer {
                    Ok(answer) if !any && !is_json(answer.body.bytes.clone()).await => {
                        (place, Err(Miss::NotJson))
                    }
                    answer => (place, answer),
                }
            })
            .collect();
        let mut gathered = Gathered::default();
        while let Some((place, answer)) = asked.next().await {
            match answer {
                Ok(answer) => {
                    gathered.good.push((place, answer));
                    if self.merge == Merge::First {
                        break;
                    }
                }
                Err(miss) => {
                    let leaf = leaves[place].address.to_string();
                    gathered.missing.push((place, leaf, miss));
                }
            }
        }
        gathered
    }

    fn count(&self, gathered: &Gathered) {
        let count = |outcome, number: usize| {
            self.metrics
                .answers
                .get_or_create(&ByOutcome { outcome })
                .inc_by(number as u64)
        };
        count(Outcome::ok, gathered.good.len());
        for (.., miss) in &gathered.missing {
            count(miss.outcome(), 1);
        }
    }

    async fn respond(self: &Arc<Self>, leaves: Vec<Leaf>, mut gathered: Gathered) -> Response {
        if self.merge == Merge::First {
            return match gathered.good.pop() {
                Some((
                    _,
                    Answer {
                        status,
                        mut headers,
                        body,
                    },
                )) => {
                    // A leaf may be a root itself.
                    headers.remove(names::LEAVES_MISSING);
                    let text = body.bytes.clone();
                    (status, headers, ask::in_place_of(vec![body], text)).into_response()
                }
                None => refuse(StatusCode::GATEWAY_TIMEOUT, "too few leaves answered", None),
            };
        }
        let bytes = gathered
            .good
            .iter()
            .map(|(_, answer)| answer.body.bytes.len());
        let (bytes, root) = (bytes.sum(), self.clone());
        let merged = aside(bytes, move || {
            let text = root.merged(&leaves, &gathered)?;
            let held = gathered.good.into_iter().map(|(_, answer)| answer.body);
            Ok(ask::in_place_of(held.collect(), text))
        });
        let body = match merged.await {
            Some(Ok(body)) => body,
            Some(Err(TooMany)) => {
                let error = format!("the answers have more than {MOST_ITEMS} items to sort or cut");
                return refuse(StatusCode::BAD_GATEWAY, &error, None);
            }
            None => {
                let error = "the answers cannot be merged";
                return refuse(StatusCode::INTERNAL_SERVER_ERROR, error, None);
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        (headers, body).into_response()
    }

    fn merged(&self, leaves: &[Leaf], gathered: &Gathered) -> Result<String, TooMany> {
        if self.merge == Merge::Raw {
            return Ok(raw(leaves, gathered));
        }
        let texts: Vec<&str> = gathered
            .good
            .iter()
            .filter_map(|(_, answer)| std::str::from_utf8(&answer.body.bytes).ok())
            .filter(|text| !text.trim().is_empty())
            .collect();
        merge::merge(self.merge, &texts, &self.shape)
    }
}

/// Work on so many bytes; on a thread of its own where it would hold up everybody's requests. Nothing if it panics.
async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if bytes < SMALL {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}

/// No body at all is an answer, too: it adds nothing.
async fn is_json(body: Bytes) -> bool {
    let valid = aside(body.len(), move || {
        body.trim_ascii().is_empty() || serde_json::from_slice::<&RawValue>(&body).is_ok()
    });
    valid.await.unwrap_or(false)
}

/// What each leaf said, JSON as JSON and the rest as text.
fn raw(leaves: &[Leaf], gathered: &Gathered) -> String {
    let good = gathered.good.iter().map(|(place, answer)| {
        let text = String::from_utf8_lossy(&answer.body.bytes);
        let body = match serde_json::from_str::<&RawValue>(&text) {
            Ok(body) => body.get().to_owned(),
            Err(_) => json!(text).to_string(),
        };
        format!(
            r#"{{"leaf":"{}","status":{},"body":{body}}}"#,
            leaves[*place].address,
            answer.status.as_u16()
        )
    });
    let missing = gathered
        .missing
        .iter()
        .map(|(_, leaf, miss)| json!({"leaf": leaf, "error": miss.to_string()}).to_string());
    format!("[{}]", good.chain(missing).collect::<Vec<_>>().join(","))
}

/// `10.0.0.3:8080 timeout, 10.0.0.4:8080 status-500`.
fn missing(missing: &[(usize, String, Miss)]) -> Option<HeaderValue> {
    let mut named: Vec<_> = missing
        .iter()
        .take(NAMED)
        .map(|(_, leaf, miss)| format!("{leaf} {miss}"))
        .collect();
    if missing.len() > NAMED {
        named.push("...".to_owned());
    }
    (!named.is_empty())
        .then(|| HeaderValue::try_from(named.join(", ")).ok())
        .flatten()
}
