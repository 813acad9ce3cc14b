//! The webhook entries: when the API server calls us, and by which path.
//!
//! ```text
//!                 namespaceSelector                matchConditions    failurePolicy
//!  annotated      any                              wants-outrigger    Fail
//!  namespace      outrigger.dev/injection enabled  not-annotated      Fail
//!  cluster        not enabled                      not-annotated      Ignore           only with clusterWide.enabled
//!  advise         any                              mentions-outrigger Ignore           workloads, not Pods
//! ```
//!
//! No Pod fits two of the first three, so none calls twice a round. The conditions are made of the constants that the server reads, so
//! that none can ask for what the other does not know. That `outrigger.dev/injection: disabled` is in none of them is on purpose: the
//! server reads it, so that a Required binding holds.

use serde_json::{Value, json};

use crate::keys;

/// One webhook entry, each in a configuration object of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// Pods that ask by annotation.
    Annotated,
    /// Pods of namespaces that are enabled.
    Namespace,
    /// The rest, where bindings work cluster-wide.
    Cluster,
    /// Workloads, which get advice and are never refused.
    Advise,
}

impl Entry {
    /// Every entry.
    pub const ALL: [Self; 4] = [
        Self::Annotated,
        Self::Namespace,
        Self::Cluster,
        Self::Advise,
    ];

    /// For configurations, metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Annotated => "annotated",
            Self::Namespace => "namespace",
            Self::Cluster => "cluster",
            Self::Advise => "advise",
        }
    }

    /// What its webhook is called: the API server's metrics and errors say it.
    #[must_use]
    pub fn webhook(self) -> String {
        format!("{}.{}", self.name(), keys::GROUP)
    }

    /// Where the API server posts its reviews.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Annotated => "/mutate/annotated",
            Self::Namespace => "/mutate/namespace",
            Self::Cluster => "/mutate/cluster",
            Self::Advise => "/advise",
        }
    }

    /// The kind of its configuration object.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Annotated | Self::Namespace | Self::Cluster => "MutatingWebhookConfiguration",
            Self::Advise => "ValidatingWebhookConfiguration",
        }
    }

    /// Whether something is wrong if its configuration object is not there.
    #[must_use]
    pub fn is_expected(self, cluster_wide: bool) -> bool {
        match self {
            Self::Annotated | Self::Namespace => true,
            Self::Cluster => cluster_wide,
            Self::Advise => false,
        }
    }

    /// Its `matchConditions`.
    #[must_use]
    pub fn match_conditions(self) -> Value {
        let (name, expression) = match self {
            Self::Annotated => ("wants-outrigger", wants()),
            Self::Namespace | Self::Cluster => ("not-annotated", format!("!({})", wants())),
            Self::Advise => ("mentions-outrigger", mentions()),
        };
        json!([{"name": name, "expression": expression}])
    }
}

/// A Pod with an annotation that only we give a meaning to (see [`keys::is_ours`]), other than what we write ourselves; or with a
/// volume of ours, as a copy without its annotations has (`kubectl debug --copy-to`).
fn wants() -> String {
    let volume = keys::VOLUME_PREFIX;
    let (status, files) = (keys::STATUS, keys::FILES_PREFIX);
    let asks = ours(&format!(" && k != '{status}' && !k.startsWith('{files}/')"));
    format!(
        "has(object.metadata.annotations) && object.metadata.annotations.exists(k, {asks}) || \
         has(object.spec.volumes) && object.spec.volumes.exists(v, v.name.startsWith('{volume}'))"
    )
}

/// A workload whose template, or which itself, or whose Jobs, have an annotation of ours.
fn mentions() -> String {
    let ours = ours("");
    format!(
        "(has(object.spec.jobTemplate) ? [object, object.spec.jobTemplate, object.spec.jobTemplate.spec.template] : [object, object.spec.template])\
         .exists(o, has(o.metadata) && has(o.metadata.annotations) && o.metadata.annotations.exists(k, {ours}))"
    )
}

/// [`keys::is_ours`] for valid keys: a name has no second slash.
fn ours(but: &str) -> String {
    let group = keys::GROUP;
    format!("(k.startsWith('{group}/') || k.contains('.{group}/')){but}")
}
