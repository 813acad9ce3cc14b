//! One leaf's part in one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Method, Request, StatusCode, Uri};
use prometheus_client::encoding::EncodeLabelValue;
use tokio::time::timeout;

use super::leaves::Leaf;
use crate::outgoing;

/// Headers between two neighbours (RFC 9110, 7.6.1), and those that we answer for ourselves: leaves' answers are read, so they
/// are not compressed, and a body goes out whole.
const NEIGHBOURS: [HeaderName; 11] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::CONTENT_LENGTH,
    header::EXPECT,
];

/// What the app sent, once for all leaves.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path_and_query: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What a leaf answered with 2xx.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Held,
}

/// Why a leaf is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    Timeout,
    Unreachable,
    Broken,
    TooLarge,
    NotJson,
    Status(StatusCode),
    NoAddress,
}

/// The same for a metric's label: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types)] // as they are written in the metric
pub(super) enum Outcome {
    ok,
    timeout,
    unreachable,
    broken,
    too_large,
    not_json,
    status,
    no_address,
}

impl Miss {
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Timeout => Outcome::timeout,
            Self::Unreachable => Outcome::unreachable,
            Self::Broken => Outcome::broken,
            Self::TooLarge => Outcome::too_large,
            Self::NotJson => Outcome::not_json,
            Self::Status(_) => Outcome::status,
            Self::NoAddress => Outcome::no_address,
        }
    }
}

impl std::fmt::Display for Miss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Broken => f.write_str("broken"),
            Self::TooLarge => f.write_str("too-large"),
            Self::NotJson => f.write_str("not-json"),
            Self::Status(status) => write!(f, "status-{}", status.as_u16()),
            Self::NoAddress => f.write_str("no-address"),
        }
    }
}

/// Drops the headers that are not for the other side.
pub(super) fn pass_on(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in NEIGHBOURS.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Asks one leaf, and waits for the whole of its answer.
pub(super) async fn ask(
    client: &outgoing::Plain,
    leaf: &Leaf,
    question: &Question,
    patience: Duration,
    max_bytes: usize,
    memory: &Arc<Memory>,
) -> Result<Answer, Miss> {
    let exchange = async {
        // Put together of its parts: as a text, `*` would be taken for a piece of the port.
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(leaf.authority.clone())
            .path_and_query(question.path_and_query.clone())
            .build()
            .map_err(|_| Miss::Broken)?;
        let mut request = Request::new(outgoing::Body::new(question.body.clone()));
        *request.method_mut() = question.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = question.headers.clone();
        request
            .headers_mut()
            .insert(header::HOST, leaf.host.clone());
        let answer = client.request(request).await.map_err(|error| {
            if error.is_connect() {
                Miss::Unreachable
            } else {
                Miss::Broken
            }
        })?;
        let (mut head, body) = answer.into_parts();
        if !head.status.is_success() {
            return Err(Miss::Status(head.status));
        }
        let body = read(body, max_bytes, memory)
            .await
            .map_err(|error| match error {
                Unread::TooLarge | Unread::NoMemory => Miss::TooLarge,
                Unread::Broken => Miss::Broken,
            })?;
        pass_on(&mut head.headers);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    };
    timeout(patience, exchange)
        .await
        .unwrap_or(Err(Miss::Timeout))
}

/// Why a body is not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    NoMemory,
    Broken,
}

/// Bytes of bodies that all requests together may hold.
#[derive(Debug)]
pub(super) struct Memory(AtomicUsize);

impl Memory {
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }

    fn take(&self, bytes: usize) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            })
            .is_ok()
    }
}

/// A body, whose bytes are given back when it goes.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    taken: usize,
    memory: Arc<Memory>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.0.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// An answer to the app, which counts as held until it is written.
#[derive(Debug)]
struct Unsent {
    text: Bytes,
    _held: Vec<Held>,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

/// The text in place of the bodies that it was made of.
pub(super) fn in_place_of(mut held: Vec<Held>, text: impl Into<Bytes>) -> Bytes {
    let text = text.into();
    let mut left = text.len();
    for held in &mut held {
        held.bytes = Bytes::new();
        left = held.shrink(left);
    }
    Bytes::from_owner(Unsent { text, _held: held })
}

impl Held {
    /// Gives back what is more than this, and says what is left of this.
    fn shrink(&mut self, to: usize) -> usize {
        let keep = self.taken.min(to);
        self.memory
            .0
            .fetch_add(self.taken - keep, Ordering::Relaxed);
        self.taken = keep;
        to - keep
    }
}

/// A whole body, within both bounds.
pub(super) async fn read(
    mut body: impl Body<Data = Bytes, Error: Sized> + Unpin,
    max_bytes: usize,
    memory: &Arc<Memory>,
) -> Result<Held, Unread> {
    let mut held = Held {
        bytes: Bytes::new(),
        taken: 0,
        memory: memory.clone(),
    };
    // A length that is told spares reading what is too long anyway.
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if told > max_bytes {
        return Err(Unread::TooLarge);
    }
    let mut pieces = BytesMut::with_capacity(told.min(64 * 1024));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        if pieces.len() + data.len() > max_bytes {
            return Err(Unread::TooLarge);
        }
        if !memory.take(data.len()) {
            return Err(Unread::NoMemory);
        }
        held.taken += data.len();
        pieces.extend_from_slice(&data);
    }
    held.bytes = pieces.freeze();
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn headers_between_neighbours_stay_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("x-user", "u"),
            ("authorization", "b"),
        ] {
            headers.append(
                name.parse::<HeaderName>().expect("a name"),
                HeaderValue::from_static(value),
            );
        }
        pass_on(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "x-user"]);
    }

    #[tokio::test]
    async fn bodies_are_bounded_one_by_one_and_together() {
        let memory = Memory::new(10);
        let body = |bytes: &'static [u8]| outgoing::Body::new(Bytes::from_static(bytes));
        assert_eq!(
            read(body(b"123456789"), 8, &memory).await.map(drop),
            Err(Unread::TooLarge)
        );
        let held = read(body(b"12345678"), 8, &memory).await.expect("a body");
        assert_eq!(
            read(body(b"123"), 8, &memory).await.map(drop),
            Err(Unread::NoMemory)
        );
        drop(held);
        assert_eq!(
            read(body(b"123"), 8, &memory)
                .await
                .map(|held| held.bytes.clone()),
            Ok(Bytes::from_static(b"123"))
        );
        assert_eq!(memory.0.load(Ordering::Relaxed), 10);
    }
}
