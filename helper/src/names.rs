//! The names that others see on the wire.

use hyper::header::HeaderName;

/// Which item of the queue a request is: the stream entry's id.
pub(crate) const ITEM_ID: HeaderName = HeaderName::from_static("x-item-id");
/// How many times the item has been tried, this time included.
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("x-attempt");

/// How many leaves answered, of how many: `3/4`.
pub(crate) const LEAVES: HeaderName = HeaderName::from_static("x-leaves");
/// The leaves that did not, each with the reason.
pub(crate) const LEAVES_MISSING: HeaderName = HeaderName::from_static("x-leaves-missing");

/// Fields that a dead letter has besides the item's own: the entry it was, how often it was tried, and why no more.
pub(crate) const DEAD_ID: &str = "dead-id";
pub(crate) const DEAD_ATTEMPTS: &str = "dead-attempts";
pub(crate) const DEAD_REASON: &str = "dead-reason";
