//! The doors: paths that lead to one room. They differ in when the API server comes through them and in what it does when nobody is in.

/// One webhook entry's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Door {
    /// Pods that ask by annotation.
    Annotated,
    /// Pods of namespaces that are enabled.
    Namespace,
    /// The rest, where bindings work cluster-wide.
    Cluster,
    /// Workloads, which get advice and are never refused.
    Advise,
}

impl Door {
    /// Every door.
    pub(crate) const ALL: [Self; 4] = [
        Self::Annotated,
        Self::Namespace,
        Self::Cluster,
        Self::Advise,
    ];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Annotated => "/mutate/annotated",
            Self::Namespace => "/mutate/namespace",
            Self::Cluster => "/mutate/cluster",
            Self::Advise => "/advise",
        }
    }

    /// For metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Annotated => "annotated",
            Self::Namespace => "namespace",
            Self::Cluster => "cluster",
            Self::Advise => "advise",
        }
    }
}
