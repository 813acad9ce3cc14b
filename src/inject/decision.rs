//! Decisions: what became of each candidate, with a closed code for machines and a sentence for people.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::status::Record;
use crate::binding::{Binding, Enforcement, Mode};
use crate::pattern::{Pattern, Role};

/// Longest sentence, in bytes: values are cut where they are quoted, this is for what slips through.
const MAX_SENTENCE: usize = 2000;

/// What happened to a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Added by this patch.
    Injected,
    /// There already, by the status.
    Carried,
    /// Not added; the Pod goes on.
    Skipped,
    /// The Pod is refused.
    Denied,
}

impl Verdict {
    /// The word for it; stable.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Carried => "carried",
            Self::Skipped => "skipped",
            Self::Denied => "denied",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why. The codes are an interface: metrics, events and tools match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Required,
    Asked,
    Offered,
    Carried,
    Outdated,
    OptedOut,
    DeclinedByPod,
    DeclinedByNamespace,
    NamespaceNotEnabled,
    Audited,
    MirrorPod,
    WindowsPod,
    LinuxPod,
    InvalidAnnotation,
    InvalidLabel,
    InvalidParameters,
    UnknownPattern,
    WrongRole,
    NoSuchContainer,
    NoSuchPort,
    HostNetwork,
    RenderFailed,
    Conflict,
    InvalidResult,
    TooLarge,
    InvalidStatus,
    AdditionsMissing,
    NotAsRequired,
    CopiedWithoutStatus,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 29] = [
        Self::Required,
        Self::Asked,
        Self::Offered,
        Self::Carried,
        Self::Outdated,
        Self::OptedOut,
        Self::DeclinedByPod,
        Self::DeclinedByNamespace,
        Self::NamespaceNotEnabled,
        Self::Audited,
        Self::MirrorPod,
        Self::WindowsPod,
        Self::LinuxPod,
        Self::InvalidAnnotation,
        Self::InvalidLabel,
        Self::InvalidParameters,
        Self::UnknownPattern,
        Self::WrongRole,
        Self::NoSuchContainer,
        Self::NoSuchPort,
        Self::HostNetwork,
        Self::RenderFailed,
        Self::Conflict,
        Self::InvalidResult,
        Self::TooLarge,
        Self::InvalidStatus,
        Self::AdditionsMissing,
        Self::NotAsRequired,
        Self::CopiedWithoutStatus,
    ];

    /// The code, in kebab-case; stable.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Asked => "asked",
            Self::Offered => "offered",
            Self::Carried => "carried",
            Self::Outdated => "outdated",
            Self::OptedOut => "opted-out",
            Self::DeclinedByPod => "declined-by-pod",
            Self::DeclinedByNamespace => "declined-by-namespace",
            Self::NamespaceNotEnabled => "namespace-not-enabled",
            Self::Audited => "audited",
            Self::MirrorPod => "mirror-pod",
            Self::WindowsPod => "windows-pod",
            Self::LinuxPod => "linux-pod",
            Self::InvalidAnnotation => "invalid-annotation",
            Self::InvalidLabel => "invalid-label",
            Self::InvalidParameters => "invalid-parameters",
            Self::UnknownPattern => "unknown-pattern",
            Self::WrongRole => "wrong-role",
            Self::NoSuchContainer => "no-such-container",
            Self::NoSuchPort => "no-such-port",
            Self::HostNetwork => "host-network",
            Self::RenderFailed => "render-failed",
            Self::Conflict => "conflict",
            Self::InvalidResult => "invalid-result",
            Self::TooLarge => "too-large",
            Self::InvalidStatus => "invalid-status",
            Self::AdditionsMissing => "additions-missing",
            Self::NotAsRequired => "not-as-required",
            Self::CopiedWithoutStatus => "copied-without-status",
        }
    }

    /// True for the three that lead to an injection.
    #[must_use]
    pub fn injects(self) -> bool {
        matches!(self, Self::Required | Self::Asked | Self::Offered)
    }

    /// The sentence for the reasons that need no detail.
    fn sentence(self) -> &'static str {
        match self {
            Self::Required => "a Required binding gives it to this Pod",
            Self::Asked => "the Pod's annotation asks for it",
            Self::Offered => "it is offered to this Pod",
            Self::OptedOut => "the Pod's label opts it out",
            Self::DeclinedByPod => "the Pod's annotation declines it",
            Self::DeclinedByNamespace => "the namespace declines it",
            Self::NamespaceNotEnabled => {
                "the namespace offers it, but has no label `outrigger.dev/injection: enabled`"
            }
            Self::MirrorPod => "mirror Pods are never changed",
            Self::WindowsPod => "the Pod is for Windows, the pattern for Linux",
            Self::LinuxPod => "the Pod is for Linux, the pattern for Windows",
            _ => "",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// How strongly a candidate is wanted; what cannot be done is a denial for the first two and a skip for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    Required,
    Asked,
    Offered,
    /// Offered or required by bindings in mode Audit: tried, reported, not patched.
    Audited,
}

/// Who wants an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The Pod, by this annotation (or label).
    Pod(String),
    /// The namespace, by this annotation.
    Namespace(String),
    /// A binding.
    Binding {
        namespace: String,
        name: String,
        enforcement: Enforcement,
        mode: Mode,
    },
    /// The status annotation: it is there already.
    Status,
}

impl Source {
    pub(crate) fn binding(binding: &Binding) -> Self {
        let Binding {
            name,
            namespace,
            spec,
            ..
        } = binding;
        Self::Binding {
            namespace: namespace.clone(),
            name: name.clone(),
            enforcement: spec.enforcement,
            mode: spec.mode,
        }
    }

    /// For the status: `pod`, `namespace` or `binding:<namespace>/<name>`.
    #[must_use]
    pub fn short(&self) -> String {
        match self {
            Self::Pod(_) => "pod".to_owned(),
            Self::Namespace(_) => "namespace".to_owned(),
            Self::Binding {
                namespace, name, ..
            } => format!("binding:{namespace}/{name}"),
            Self::Status => "status".to_owned(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "annotation `{key}`"),
            Self::Namespace(key) => write!(f, "the namespace's annotation `{key}`"),
            Self::Binding {
                namespace, name, ..
            } => write!(f, "binding `{namespace}/{name}`"),
            Self::Status => write!(f, "annotation `{}`", crate::keys::STATUS),
        }
    }
}

/// Parameters as one source gives them.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    pub source: Source,
    pub params: Map<String, Value>,
}

/// What became of one candidate, and why.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The instance, or the key that could not be read as one.
    pub instance: String,
    /// The pattern's role, once the pattern is known.
    pub role: Option<Role>,
    /// Where the pattern was found, once it is known.
    pub pattern: Option<String>,
    /// Who wants it, weakest first.
    pub sources: Vec<Source>,
    /// Parameters by source, lowest first; what is in none of them is the pattern's default.
    pub layers: Vec<Layer>,
    /// Parameters as rendered, defaults included, once they are known.
    pub params: Map<String, Value>,
    pub verdict: Verdict,
    pub reason: Reason,
    /// For people.
    pub sentence: String,
    /// For people who may want to change something although it went well.
    pub warnings: Vec<String>,
    /// What was added, or found where it is carried.
    pub record: Option<Record>,
}

impl Decision {
    /// An injection by `reason`, until something else turns out.
    pub(crate) fn new(instance: String, sources: Vec<Source>, reason: Reason) -> Self {
        Self {
            instance,
            role: None,
            pattern: None,
            sources,
            layers: Vec::new(),
            params: Map::new(),
            verdict: Verdict::Injected,
            reason,
            sentence: reason.sentence().to_owned(),
            warnings: Vec::new(),
            record: None,
        }
    }

    /// A refusal that no instance stands behind.
    pub(crate) fn denied(name: &str, source: Source, reason: Reason, sentence: String) -> Self {
        Self {
            verdict: Verdict::Denied,
            sentence,
            ..Self::new(name.to_owned(), vec![source], reason)
        }
    }

    /// Makes sure that no sentence can forge a line of a log, whatever a user's value holds.
    pub(crate) fn tidy(&mut self) {
        for text in [&mut self.instance, &mut self.sentence]
            .into_iter()
            .chain(&mut self.warnings)
        {
            if text.len() > MAX_SENTENCE || text.contains(char::is_control) {
                *text = crate::text::excerpt(text, MAX_SENTENCE);
            }
        }
    }

    pub(crate) fn describe(&mut self, pattern: &Pattern) {
        self.role = Some(pattern.spec.role);
        self.pattern = Some(pattern.place.to_string());
    }

    /// Who wants it most: the first Required binding, else the last source.
    #[must_use]
    pub fn wanter(&self) -> Option<&Source> {
        let required = |source: &&Source| {
            matches!(
                source,
                Source::Binding {
                    enforcement: Enforcement::Required,
                    ..
                }
            )
        };
        self.sources.iter().find(required).or(self.sources.last())
    }

    /// The source that a sentence names: the strongest.
    pub(crate) fn whence(&self) -> String {
        self.wanter().map(ToString::to_string).unwrap_or_default()
    }

    /// Settles something that cannot be done, by how strongly it is wanted.
    pub(crate) fn settle(&mut self, force: Force) {
        match force {
            Force::Required | Force::Asked => self.verdict = Verdict::Denied,
            Force::Offered => {
                self.verdict = Verdict::Skipped;
                self.warnings.push(format!(
                    "`{}` is not injected: {}",
                    self.instance, self.sentence
                ));
            }
            Force::Audited => {
                self.verdict = Verdict::Skipped;
                self.reason = Reason::Audited;
                self.sentence = format!("audit: would fail: {}", self.sentence);
                self.warnings
                    .push(format!("`{}`: {}", self.instance, self.sentence));
            }
        }
    }

    pub(crate) fn skip(&mut self, reason: Reason) {
        self.verdict = Verdict::Skipped;
        self.reason = reason;
        reason.sentence().clone_into(&mut self.sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_differ_and_are_kebab_case() {
        let codes: std::collections::BTreeSet<_> =
            Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(
            codes
                .iter()
                .all(|code| crate::kubernetes::names::dns_label(code))
        );
    }
}
