//! Decide: which instances are candidates for a Pod, and what becomes of each.
//!
//! ```text
//!  Pod annotations ──────┐                        ┌ required ─┐
//!  namespace annotations ┼─▶ claims per instance ─┼ asked     ├─▶ render, merge, check
//!  bindings that match ──┘                        │ offered  ─┘
//!                                                 └ skipped, denied: settled here
//! ```
//!
//! The precedence, whole; the first row that fits decides ([`judge`], one test a row):
//!
//! | Required binding | Pod label disabled | Pod's annotation | namespace label | offered by | result |
//! | --- | --- | --- | --- | --- | --- |
//! | yes | any | any | any | any | injected `required` |
//! | no | yes | any | any | any | skipped `opted-out` |
//! | no | no | declines | any | any | skipped `declined-by-pod` |
//! | no | no | asks | any | any | injected `asked` |
//! | no | no | – | disabled | any | skipped `declined-by-namespace` |
//! | no | no | – | any | the namespace's annotation declines | skipped `declined-by-namespace` |
//! | no | no | – | enabled | namespace annotation, namespace binding, cluster binding | injected `offered` |
//! | no | no | – | none | cluster binding | injected `offered` |
//! | no | no | – | none | namespace annotation or namespace binding only | skipped `namespace-not-enabled` |

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Context;
use super::claims::{Claims, counts, matches, namespace_claims, pod_claims, wrong_role};
use super::crowd;
use super::decision::{Decision, Force, Reason, Source};
use super::label::{Label, Labels, injection_label, namespace_label, odd_namespace_label};
use super::wish::Wish;
use crate::binding::condition::Subject;
use crate::binding::{Binding, Mode};
use crate::keys;
use crate::kubernetes::names::Instance;
use crate::kubernetes::pod::Pod;
use crate::pattern::{Os, Pattern};
use crate::text::{excerpt, suggestion};

/// An instance that is to be rendered.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) instance: Instance,
    pub(crate) pattern: Arc<Pattern>,
    pub(crate) force: Force,
    pub(crate) decision: Decision,
}

/// What decide found: candidates to go on with, and what is settled already.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) settled: Vec<Decision>,
}

/// Finds the candidates for `pod` and settles what needs no rendering.
pub(crate) fn decide(pod: &Pod<'_>, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    if let Some(crowd) = crowd::asked(pod) {
        plan.settled.push(crowd);
        return plan;
    }
    let mut claims: BTreeMap<Instance, Claims<'_>> = BTreeMap::new();
    let labels = Labels {
        pod: injection_label(pod, &mut plan.settled),
        namespace: namespace_label(context),
    };
    pod_claims(pod, context, &mut claims, &mut plan.settled);
    namespace_claims(context, &mut claims, &mut plan.settled);
    let subject = Subject::new(pod, context.namespace);
    let cluster = context.catalog.cluster_bindings();
    let namespace = context.catalog.namespace_bindings(&context.namespace.name);
    for (binding, is_cluster) in cluster
        .iter()
        .map(|binding| (binding, true))
        .chain(namespace.iter().map(|binding| (binding, false)))
    {
        let Some(unsure) = matches(binding, pod, context, &subject) else {
            continue;
        };
        let claims = claims.entry(binding.instance.clone()).or_default();
        claims.unsure.extend(unsure);
        if is_cluster {
            &mut claims.cluster_bindings
        } else {
            &mut claims.namespace_bindings
        }
        .push(binding);
    }
    for (instance, claims) in claims {
        resolve(instance, claims, labels, pod, context, &mut plan);
    }
    crowd::thin(&mut plan);
    plan
}

/// Mirror Pods are shown in the API, not made by it: whatever they ask for is skipped.
pub(crate) fn mirror(pod: &Pod<'_>) -> Vec<Decision> {
    let keys = pod
        .metadata
        .annotations
        .iter()
        .flat_map(crate::kubernetes::pod::Pairs::iter)
        .map(|(key, _)| key);
    keys.filter(|key| keys::is_ours(key) && !super::wish::is_record(key))
        .map(|key| {
            let mut decision = Decision::new(
                key.to_owned(),
                vec![Source::Pod(key.to_owned())],
                Reason::MirrorPod,
            );
            decision.skip(Reason::MirrorPod);
            decision
        })
        .collect()
}

/// The inputs of the precedence table.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // the columns of a truth table
struct Facts {
    required: bool,
    pod_disabled: bool,
    pod: Option<bool>,
    namespace_enabled: bool,
    namespace_disabled: bool,
    namespace: Option<bool>,
    namespace_binding: bool,
    cluster_binding: bool,
}

/// The precedence table. `Some(true)` is an ask, `Some(false)` a decline.
fn judge(facts: Facts) -> Reason {
    match facts {
        Facts { required: true, .. } => Reason::Required,
        Facts {
            pod_disabled: true, ..
        } => Reason::OptedOut,
        Facts {
            pod: Some(false), ..
        } => Reason::DeclinedByPod,
        Facts {
            pod: Some(true), ..
        } => Reason::Asked,
        Facts {
            namespace_disabled: true,
            ..
        }
        | Facts {
            namespace: Some(false),
            ..
        } => Reason::DeclinedByNamespace,
        Facts {
            cluster_binding: true,
            ..
        }
        | Facts {
            namespace_enabled: true,
            namespace: Some(true),
            ..
        }
        | Facts {
            namespace_enabled: true,
            namespace_binding: true,
            ..
        } => Reason::Offered,
        _ => Reason::NamespaceNotEnabled,
    }
}

/// Applies the table to one instance.
fn resolve(
    instance: Instance,
    mut claims: Claims<'_>,
    labels: Labels,
    pod: &Pod<'_>,
    context: &Context<'_>,
    plan: &mut Plan,
) {
    let (reason, mode) = outcome(&claims, labels);
    let mut decision = Decision::new(instance.to_string(), claims.sources(mode, labels), reason);
    let Some(pattern) = claims.pattern(&instance, mode, labels, context) else {
        decision.reason = Reason::UnknownPattern;
        decision.sentence = unknown(&instance, &decision, context);
        decision.settle(force_of(&claims, mode, labels.pod));
        plan.settled.push(decision);
        return;
    };
    decision.describe(&pattern);
    if let Some((key, _)) = claims
        .namespace
        .take_if(|(key, _)| key.role != pattern.spec.role)
    {
        // The namespace's mistake stops nobody: it is told, and the others' claims stand.
        let mut offer = Decision::new(
            key.text(),
            vec![Source::Namespace(key.text())],
            Reason::WrongRole,
        );
        offer.sentence = format!(
            "namespace `{}`: {}",
            context.namespace.name,
            wrong_role(&key, &pattern)
        );
        offer.settle(Force::Offered);
        plan.settled.push(offer);
        if claims.says_something() || claims.bindings().next().is_some() {
            resolve(instance, claims, labels, pod, context, plan);
        }
        return;
    }
    if let Some((key, _)) = claims
        .pod
        .as_ref()
        .filter(|(key, _)| key.role != pattern.spec.role)
    {
        decision.reason = Reason::WrongRole;
        decision.sentence = wrong_role(key, &pattern);
        decision.settle(force_of(&claims, mode, labels.pod));
        plan.settled.push(decision);
        return;
    }
    if let Some(reason) = unsuitable(pod, &pattern).or((!reason.injects()).then_some(reason)) {
        plan.settled
            .push(skipped(decision, reason, &claims, context));
        return;
    }
    let force = match (mode, reason) {
        (Mode::Audit, _) => Force::Audited,
        (_, Reason::Required) => Force::Required,
        (_, Reason::Asked) => Force::Asked,
        _ => Force::Offered,
    };
    decision.warnings.append(&mut claims.unsure);
    decision.layers = claims.layers(&pattern, mode, labels, context, &mut decision.warnings);
    plan.candidates.push(Candidate {
        instance,
        pattern,
        force,
        decision,
    });
}

/// The table's result, and whether only bindings in mode Audit lead to it.
fn outcome(claims: &Claims<'_>, labels: Labels) -> (Reason, Mode) {
    let enforced = judge(facts(claims, labels, Mode::Enforce));
    let audited = claims
        .bindings()
        .any(|binding| binding.spec.mode == Mode::Audit);
    if enforced.injects() || !audited {
        return (enforced, Mode::Enforce);
    }
    let tried = judge(facts(claims, labels, Mode::Audit));
    match (tried.injects(), claims.says_something()) {
        (true, _) => (tried, Mode::Audit),
        (false, true) => (enforced, Mode::Enforce),
        (false, false) => (tried, Mode::Enforce),
    }
}

fn unknown(instance: &Instance, decision: &Decision, context: &Context<'_>) -> String {
    let known = context.catalog.patterns(&context.namespace.name);
    let near = suggestion(
        &instance.pattern,
        known.iter().map(|pattern| pattern.name.as_str()),
    );
    let whence = decision.whence();
    if near.is_empty() {
        format!(
            "{whence}: there is no pattern `{}`; `outrigger catalog list` shows those there are",
            instance.pattern
        )
    } else {
        format!("{whence}: there is no pattern `{}`{near}", instance.pattern)
    }
}

/// A candidate that is not wanted, or not for this Pod.
fn skipped(
    mut decision: Decision,
    reason: Reason,
    claims: &Claims<'_>,
    context: &Context<'_>,
) -> Decision {
    decision.skip(reason);
    let asked = matches!(claims.pod, Some((_, Wish::Ask(_))));
    match (reason, odd_namespace_label(context)) {
        (Reason::OptedOut, _) if asked => decision.warnings.push(format!(
            "`{}` is asked for, but the label `{}: {}` opts the Pod out",
            decision.instance,
            keys::INJECTION,
            keys::DISABLED
        )),
        (Reason::WindowsPod | Reason::LinuxPod, _) if asked => decision.warnings.push(format!(
            "`{}` is asked for, but {}",
            decision.instance, decision.sentence
        )),
        (Reason::NamespaceNotEnabled, Some(odd)) => {
            decision.sentence = format!(
                "the namespace offers it, but its label `{}` is `{}`, expected `{}` or `{}`",
                keys::INJECTION,
                excerpt(odd, 40),
                keys::ENABLED,
                keys::DISABLED
            );
            decision.warnings.push(format!(
                "`{}` is not injected: {}",
                decision.instance, decision.sentence
            ));
        }
        _ => {}
    }
    decision
}

/// A Pod of another operating system.
fn unsuitable(pod: &Pod<'_>, pattern: &Pattern) -> Option<Reason> {
    match (pod.is_windows(), pattern.spec.os) {
        (true, Os::Linux) => Some(Reason::WindowsPod),
        (false, Os::Windows) => Some(Reason::LinuxPod),
        _ => None,
    }
}

/// How strongly an instance is wanted whose pattern could not even be found.
fn force_of(claims: &Claims<'_>, mode: Mode, pod_label: Label) -> Force {
    if claims.enforced(mode).any(Binding::is_required) {
        return if mode == Mode::Audit {
            Force::Audited
        } else {
            Force::Required
        };
    }
    match (&claims.pod, pod_label) {
        (Some(_), Label::None | Label::Enabled) => Force::Asked,
        _ => Force::Offered,
    }
}

fn facts(claims: &Claims<'_>, labels: Labels, mode: Mode) -> Facts {
    let acts = |bindings: &[&Binding]| bindings.iter().any(|binding| counts(binding, mode));
    Facts {
        required: claims.enforced(mode).any(Binding::is_required),
        pod_disabled: labels.pod == Label::Disabled,
        pod: claims.pod.as_ref().map(|(_, wish)| wish.asks()),
        namespace_enabled: labels.namespace == Label::Enabled,
        namespace_disabled: labels.namespace == Label::Disabled,
        namespace: claims.namespace.as_ref().map(|(_, wish)| wish.asks()),
        namespace_binding: acts(&claims.namespace_bindings),
        cluster_binding: acts(&claims.cluster_bindings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Facts = Facts {
        required: false,
        pod_disabled: false,
        pod: None,
        namespace_enabled: false,
        namespace_disabled: false,
        namespace: None,
        namespace_binding: false,
        cluster_binding: false,
    };

    /// Every combination of the columns marked "any" in a row.
    fn all(row: Facts, vary: &[fn(&mut Facts, bool)]) -> Vec<Facts> {
        let mut rows = vec![row];
        for set in vary {
            rows = rows
                .into_iter()
                .flat_map(|facts| {
                    [false, true].map(|on| {
                        let mut facts = facts;
                        set(&mut facts, on);
                        facts
                    })
                })
                .collect();
        }
        rows
    }

    const POD_LABEL: fn(&mut Facts, bool) = |facts, on| facts.pod_disabled = on;
    const POD: fn(&mut Facts, bool) = |facts, on| facts.pod = Some(on);
    const ENABLED: fn(&mut Facts, bool) = |facts, on| facts.namespace_enabled = on;
    const NAMESPACE: fn(&mut Facts, bool) = |facts, on| facts.namespace = Some(on);
    const NAMESPACE_BINDING: fn(&mut Facts, bool) = |facts, on| facts.namespace_binding = on;
    const CLUSTER_BINDING: fn(&mut Facts, bool) = |facts, on| facts.cluster_binding = on;
    const OFFERS: [fn(&mut Facts, bool); 3] = [NAMESPACE, NAMESPACE_BINDING, CLUSTER_BINDING];

    fn row(facts: Vec<Facts>, expected: Reason) {
        for facts in facts {
            assert_eq!(judge(facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn row_1_required_beats_everything() {
        row(
            all(
                Facts {
                    required: true,
                    ..NOTHING
                },
                &[
                    POD_LABEL,
                    POD,
                    ENABLED,
                    NAMESPACE,
                    NAMESPACE_BINDING,
                    CLUSTER_BINDING,
                ],
            ),
            Reason::Required,
        );
    }

    #[test]
    fn row_2_a_pod_opts_out_of_offers_and_of_what_it_asks() {
        row(
            all(
                Facts {
                    pod_disabled: true,
                    ..NOTHING
                },
                &[POD, ENABLED, NAMESPACE, NAMESPACE_BINDING, CLUSTER_BINDING],
            ),
            Reason::OptedOut,
        );
    }

    #[test]
    fn row_3_a_pod_declines() {
        row(
            all(
                Facts {
                    pod: Some(false),
                    ..NOTHING
                },
                &[ENABLED, NAMESPACE, NAMESPACE_BINDING, CLUSTER_BINDING],
            ),
            Reason::DeclinedByPod,
        );
    }

    #[test]
    fn row_4_a_pod_asks() {
        row(
            all(
                Facts {
                    pod: Some(true),
                    ..NOTHING
                },
                &[ENABLED, NAMESPACE, NAMESPACE_BINDING, CLUSTER_BINDING],
            ),
            Reason::Asked,
        );
        row(
            all(
                Facts {
                    pod: Some(true),
                    namespace_disabled: true,
                    ..NOTHING
                },
                &OFFERS,
            ),
            Reason::Asked,
        );
    }

    #[test]
    fn row_5_a_namespace_is_disabled() {
        row(
            all(
                Facts {
                    namespace_disabled: true,
                    ..NOTHING
                },
                &OFFERS,
            ),
            Reason::DeclinedByNamespace,
        );
    }

    #[test]
    fn row_6_a_namespace_declines() {
        row(
            all(
                Facts {
                    namespace: Some(false),
                    ..NOTHING
                },
                &[ENABLED, NAMESPACE_BINDING, CLUSTER_BINDING],
            ),
            Reason::DeclinedByNamespace,
        );
    }

    #[test]
    fn row_7_an_enabled_namespace_offers() {
        row(
            all(
                Facts {
                    namespace_enabled: true,
                    namespace: Some(true),
                    ..NOTHING
                },
                &[NAMESPACE_BINDING, CLUSTER_BINDING],
            ),
            Reason::Offered,
        );
        row(
            all(
                Facts {
                    namespace_enabled: true,
                    namespace_binding: true,
                    ..NOTHING
                },
                &[CLUSTER_BINDING],
            ),
            Reason::Offered,
        );
        row(
            vec![Facts {
                namespace_enabled: true,
                cluster_binding: true,
                ..NOTHING
            }],
            Reason::Offered,
        );
    }

    #[test]
    fn row_8_the_cluster_offers() {
        row(
            all(
                Facts {
                    cluster_binding: true,
                    ..NOTHING
                },
                &[NAMESPACE_BINDING],
            ),
            Reason::Offered,
        );
        row(
            vec![Facts {
                cluster_binding: true,
                namespace: Some(true),
                ..NOTHING
            }],
            Reason::Offered,
        );
    }

    #[test]
    fn row_9_a_namespace_without_the_label_offers_nothing() {
        row(
            all(
                Facts {
                    namespace: Some(true),
                    ..NOTHING
                },
                &[NAMESPACE_BINDING],
            ),
            Reason::NamespaceNotEnabled,
        );
        row(
            vec![Facts {
                namespace_binding: true,
                ..NOTHING
            }],
            Reason::NamespaceNotEnabled,
        );
    }
}
