//! What a Pattern or `PatternBinding` is told about itself: its `Ready` condition, as it should be and as it is.

use serde_json::Value;

use super::objects::Kind;

/// What an object's `Ready` condition should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) finding: Finding,
    /// When the condition last changed its status, where it does not change it now.
    pub(crate) since: Option<String>,
}

/// What was found about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) is_ready: bool,
    /// In upper camel case, for programs.
    pub(crate) reason: &'static str,
    /// A sentence, for people.
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn status(&self) -> &'static str {
        if self.is_ready { "True" } else { "False" }
    }
}

/// A condition of type `Ready` (`metav1.Condition`), as far as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    status: String,
    reason: String,
    message: String,
    generation: Option<i64>,
    since: Option<String>,
}

impl Said {
    /// The object's own; empty if nobody has written one.
    pub(crate) fn by(object: &Value) -> Self {
        let conditions = object
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
        let field = |name: &str| ready.and_then(|condition| condition.get(name));
        let text = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            status: text("status").unwrap_or_default(),
            reason: text("reason").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            generation: field("observedGeneration").and_then(Value::as_i64),
            since: text("lastTransitionTime"),
        }
    }

    /// Whether it says just that.
    pub(crate) fn says(&self, finding: &Finding, generation: i64) -> bool {
        self.status == finding.status()
            && self.reason == finding.reason
            && self.message == finding.message
            && self.generation == Some(generation)
    }

    /// When its status became what it will stay.
    pub(crate) fn since(&self, finding: &Finding) -> Option<String> {
        self.since
            .clone()
            .filter(|_| self.status == finding.status())
    }
}
