//! Label values: closed sets of ours, and the words for them.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::entries::Entry;

/// How a request ended, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// A patch was sent.
    Injected,
    /// Looked at, and nothing to add.
    Unchanged,
    /// Not the creation of a Pod.
    Ignored,
    Denied,
    /// The body could not be read as a review.
    Unreadable,
}

/// A part of the work on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// From the head to the last byte of the body.
    Receive,
    /// From there to a decision with its patch.
    Decide,
    /// The answer's text.
    Respond,
}

/// Why something was turned away before it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rejection {
    TooManyConnections,
    Handshake,
    TooManyRequests,
    BodyTooLarge,
    BodyTooSlow,
    BodyBroken,
    ContentType,
    /// The API server did not say in time what namespace it is.
    UnknownNamespace,
}

/// What is read again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reread {
    Configuration,
    Certificate,
}

/// Gives an enum of ours its label texts; the match says which. Logs use them, too.
pub(crate) trait Label: Copy {
    fn name(self) -> &'static str;
}

impl Label for Entry {
    fn name(self) -> &'static str {
        Self::name(self)
    }
}

impl Label for Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::Ignored => "ignored",
            Self::Denied => "denied",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Label for Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Decide => "decide",
            Self::Respond => "respond",
        }
    }
}

impl Label for Rejection {
    fn name(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too-many-connections",
            Self::Handshake => "handshake",
            Self::TooManyRequests => "too-many-requests",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyTooSlow => "body-too-slow",
            Self::BodyBroken => "body-broken",
            Self::ContentType => "content-type",
            Self::UnknownNamespace => "unknown-namespace",
        }
    }
}

impl Label for Reread {
    fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Certificate => "certificate",
        }
    }
}

impl Label for bool {
    fn name(self) -> &'static str {
        if self { "good" } else { "broken" }
    }
}

/// A label value out of one of our enums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Value<T>(pub(super) T);

impl<T: Label> EncodeLabelValue for Value<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.name().encode(encoder)
    }
}
