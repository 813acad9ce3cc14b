//! Every name that users, other tools or the API server see: annotations, labels, paths, prefixes.
//!
//! Nothing else in the code spells one of these out.

/// The API group, and the domain under which every annotation key of ours lives.
pub const GROUP: &str = "outrigger.dev";
/// The version of its kinds.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of `Pattern` and `PatternBinding`.
pub const API_VERSION: &str = "outrigger.dev/v1alpha1";

/// The two kinds.
pub const PATTERN: &str = "Pattern";
/// See [`PATTERN`].
pub const BINDING: &str = "PatternBinding";

/// Annotation that records what was injected (see [`crate::inject::Status`]).
pub const STATUS: &str = "outrigger.dev/status";
/// Prefix of the annotations that carry config files: `files.outrigger.dev/<instance>.<file>`.
pub const FILES_PREFIX: &str = "files.outrigger.dev";
/// Label on Pods and namespaces: `enabled` or `disabled`.
pub const INJECTION: &str = "outrigger.dev/injection";
/// Value of [`INJECTION`] that turns offers on in a namespace.
pub const ENABLED: &str = "enabled";
/// Value of [`INJECTION`] that turns offers off, and on a Pod also what it asks for itself.
pub const DISABLED: &str = "disabled";

/// Label by which every namespace has its own name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Annotation that names a Pod's main container (`kubectl logs` and `kubectl exec` read it too).
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Annotation of mirror Pods (static Pods shown in the API), which admission must not change.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Node selector key that decides a Pod's operating system where `spec.os` is silent.
pub const OS_LABEL: &str = "kubernetes.io/os";

/// Every volume that we add starts so; no other volume may.
pub const VOLUME_PREFIX: &str = "outrigger-";
/// Name, within a pattern, of the volume that shows its `files`.
pub const FILES_VOLUME: &str = "files";
/// Where an injected container finds its pattern's `files`.
pub const FILES_MOUNT: &str = "/etc/outrigger";
/// Name, within a pattern, of the empty volume that hides the service account's token.
pub const NO_TOKEN_VOLUME: &str = "no-token";
/// Where the API server's `ServiceAccount` plugin mounts the token, unless something is mounted there already
/// (`plugin/pkg/admission/serviceaccount/admission.go`).
pub const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Namespace that Outrigger runs in unless told otherwise.
pub const HOME_NAMESPACE: &str = "outrigger-system";

/// Who our Events are from.
pub const EVENT_REPORTER: &str = "outrigger.dev/injector";
/// Field manager of the conditions that the server writes into its custom resources.
pub const FIELD_MANAGER: &str = "outrigger";
/// Field manager of the `caBundle`s, and of nothing else.
pub const CA_FIELD_MANAGER: &str = "outrigger-ca";

/// Containers that other injectors add: never an app container.
pub const FOREIGN_CONTAINERS: &[&str] = &[
    "consul-connect-inject-init",
    "consul-dataplane",
    "daprd",
    "istio-init",
    "istio-proxy",
    "istio-validation",
    "kuma-init",
    "kuma-sidecar",
    "kuma-validation",
    "linkerd-init",
    "linkerd-network-validator",
    "linkerd-proxy",
    "opentelemetry-auto-instrumentation",
    "otc-container",
    "vault-agent",
    "vault-agent-init",
];

/// True for an annotation key that only Outrigger gives a meaning to: `outrigger.dev/…` or any subdomain of it.
#[must_use]
pub fn is_ours(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else {
        return false;
    };
    domain
        .strip_suffix(GROUP)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_the_domain_and_its_subdomains_are_ours() {
        for key in [
            "outrigger.dev/status",
            "sidecar.outrigger.dev/https",
            "a.b.outrigger.dev/x",
        ] {
            assert!(is_ours(key), "{key}");
        }
        for key in [
            "notoutrigger.dev/x",
            "outrigger.dev",
            "outrigger.dev.evil/x",
            "example.com/outrigger.dev",
        ] {
            assert!(!is_ours(key), "{key}");
        }
    }
}
