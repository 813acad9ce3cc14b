//! What stops one instance: a reason and a sentence. Whether it stops the Pod depends on who wants the instance.

use super::decision::Reason;
use crate::pattern::Fault;

/// A reason and its sentence; `path` where a field of the pattern is to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: Reason,
    pub(crate) path: String,
    pub(crate) sentence: String,
}

impl Problem {
    pub(crate) fn new(reason: Reason, sentence: impl Into<String>) -> Self {
        Self {
            reason,
            path: String::new(),
            sentence: sentence.into(),
        }
    }

    /// The problem as seen from the object around it; only faults of the pattern have a place.
    pub(crate) fn under(self, parent: &str) -> Self {
        if self.reason != Reason::RenderFailed {
            return self;
        }
        let Fault { path, message } = Fault::new(self.path, self.sentence).under(parent);
        Self {
            path,
            sentence: message,
            ..self
        }
    }

    /// The sentence, with the pattern's field where there is one.
    pub(crate) fn text(&self, pattern: &str) -> String {
        if self.path.is_empty() {
            self.sentence.clone()
        } else {
            format!(
                "pattern `{pattern}` does not fit this Pod: `{}`: {}",
                self.path, self.sentence
            )
        }
    }
}

impl From<Fault> for Problem {
    fn from(Fault { path, message }: Fault) -> Self {
        Self {
            reason: Reason::RenderFailed,
            path,
            sentence: message,
        }
    }
}
