//! Reading a body within bounds: its size, the time it may take, and what all bodies together may weigh.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Uri, header};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::metrics::Rejection;

/// Two objects of the API server's 3 MiB (`MaxRequestBodyBytes`), and 1 MiB for what is around them; controller-runtime's limit, too.
pub(crate) const MAX_BODY: usize = 7 * 1024 * 1024;
/// All bodies in flight together: who may call decides how many there are and how large, the memory is ours.
const MAX_BODIES: usize = 64 * 1024 * 1024;
/// Bodies take up room in steps of this size.
const STEP: usize = 16 * 1024;
/// How long a body that has begun may wait for room.
const PATIENCE: Duration = Duration::from_millis(250);
/// A body that takes longer does not come from an API server.
const MAX_TIME: Duration = Duration::from_secs(10);
/// The API server's longest timeout.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// The room for bodies.
#[derive(Debug)]
pub(crate) struct Room(Semaphore);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(MAX_BODIES / STEP))
    }
}

/// A body, and the room that it takes up until it is answered.
pub(crate) struct Received<'a> {
    pub(crate) bytes: Vec<u8>,
    held: Option<SemaphorePermit<'a>>,
}

impl<'a> Received<'a> {
    /// Takes room as bytes come, not as they are announced, so that nobody holds any by saying much.
    async fn grow(&mut self, room: &'a Room, length: usize) -> Result<(), Rejection> {
        let held = self.held.as_ref().map_or(0, SemaphorePermit::num_permits);
        let wanted = length.div_ceil(STEP).saturating_sub(held);
        if wanted == 0 {
            return Ok(());
        }
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let Ok(Ok(more)) = timeout(PATIENCE, room.0.acquire_many(wanted)).await else {
            return Err(Rejection::TooManyRequests);
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

/// Reads the whole body; `deadline` is when it must be there.
pub(crate) async fn read<'a>(
    headers: &HeaderMap,
    mut body: Body,
    deadline: Instant,
    room: &'a Room,
) -> Result<Received<'a>, Rejection> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) {
        return Err(Rejection::BodyTooLarge);
    }
    // Announcing costs nothing, so not all of it is believed.
    let mut received = Received {
        bytes: Vec::with_capacity(announced.unwrap_or_default().min(STEP)),
        held: None,
    };
    let deadline = deadline.min(Instant::now() + MAX_TIME);
    while let Some(frame) = timeout_at(deadline, body.frame())
        .await
        .map_err(|_| Rejection::BodyTooSlow)?
    {
        let frame = frame.map_err(|_| Rejection::BodyBroken)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let length = received.bytes.len() + data.len();
        if length > MAX_BODY {
            return Err(Rejection::BodyTooLarge);
        }
        if let Err(rejection) = received.grow(room, length).await {
            drop(received);
            discard(body).await;
            return Err(rejection);
        }
        received.bytes.extend_from_slice(data);
    }
    Ok(received)
}

/// Reads a body that nobody wants, for a moment: a client that is still writing when the connection closes may never see its answer.
pub(crate) async fn discard(mut body: Body) {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut left = MAX_BODY;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        let length = frame.data_ref().map_or(0, axum::body::Bytes::len);
        if length > left {
            return;
        }
        left -= length;
    }
}

/// How long the API server waits: its `?timeout=5s`, in Go's notation; 30 s where it is absent or says something else.
pub(crate) fn patience(uri: &Uri) -> Duration {
    let value = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("timeout="));
    value
        .and_then(crate::text::duration)
        .unwrap_or(MAX_TIMEOUT)
        .min(MAX_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_is_read() {
        let patience = |uri: &'static str| patience(&Uri::from_static(uri));
        assert_eq!(
            patience("/mutate/cluster?timeout=5s"),
            Duration::from_secs(5)
        );
        assert_eq!(
            patience("/mutate/cluster?x=1&timeout=250ms"),
            Duration::from_millis(250)
        );
        for unknown in [
            "/mutate/cluster",
            "/mutate/cluster?timeout=",
            "/mutate/cluster?timeout=-5s",
            "/mutate/cluster?timeout=5h",
            "/mutate/cluster?timeout=99s",
        ] {
            assert_eq!(patience(unknown), MAX_TIMEOUT, "{unknown}");
        }
    }
}
