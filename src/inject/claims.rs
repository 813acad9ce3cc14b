//! Claims: everything that is said about each instance, by the Pod, by its namespace and by bindings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Context;
use super::crowd;
use super::decision::{Decision, Force, Layer, Reason, Source};
use super::label::{Label, Labels};
use super::layers::Stack;
use super::wish::{self, Key, Wish};
use crate::binding::condition::Subject;
use crate::binding::{Binding, Mode};
use crate::keys;
use crate::kubernetes::names::Instance;
use crate::kubernetes::pod::{self, Pod};
use crate::pattern::Pattern;
use crate::text::excerpt;

/// Everything that was said about one instance.
#[derive(Debug, Default)]
pub(super) struct Claims<'a> {
    pub(super) pod: Option<(Key, Wish)>,
    pub(super) namespace: Option<(Key, Wish)>,
    pub(super) cluster_bindings: Vec<&'a Binding>,
    pub(super) namespace_bindings: Vec<&'a Binding>,
    /// Conditions that could not be evaluated and count as a match, for people.
    pub(super) unsure: Vec<String>,
}

impl<'a> Claims<'a> {
    pub(super) fn bindings(&self) -> impl Iterator<Item = &'a Binding> {
        self.cluster_bindings
            .iter()
            .chain(&self.namespace_bindings)
            .copied()
    }

    /// Bindings that count in `mode`.
    pub(super) fn enforced(&self, mode: Mode) -> impl Iterator<Item = &'a Binding> {
        self.bindings().filter(move |binding| counts(binding, mode))
    }

    /// True if anybody but a binding in mode Audit says something.
    pub(super) fn says_something(&self) -> bool {
        self.pod.is_some()
            || self.namespace.is_some()
            || self.enforced(Mode::Enforce).next().is_some()
    }

    /// Who says something, the strongest last.
    pub(super) fn sources(&self, mode: Mode, labels: Labels) -> Vec<Source> {
        let (required, offering): (Vec<_>, Vec<_>) = self
            .enforced(mode)
            .partition(|binding| binding.is_required());
        let bindings = |bindings: Vec<&'a Binding>| bindings.into_iter().map(Source::binding);
        let namespace = self
            .namespace
            .iter()
            .map(|(key, _)| Source::Namespace(key.text()));
        let pod = self.pod.iter().map(|(key, _)| Source::Pod(key.text()));
        let offers: Vec<_> = if labels.namespace == Label::Enabled {
            bindings(offering).chain(namespace).collect()
        } else {
            namespace.chain(bindings(offering)).collect()
        };
        offers
            .into_iter()
            .chain(pod)
            .chain(bindings(required))
            .collect()
    }

    /// What the namespace itself offers; nothing unless it is enabled.
    fn offered_here(&self, labels: Labels) -> bool {
        labels.namespace == Label::Enabled
            && (self.namespace.is_some() || !self.namespace_bindings.is_empty())
    }

    /// The pattern, looked up from where the strongest claim stands: no tenant can shadow what the platform binds.
    pub(super) fn pattern(
        &self,
        instance: &Instance,
        mode: Mode,
        labels: Labels,
        context: &Context<'_>,
    ) -> Option<Arc<Pattern>> {
        let find = |namespace: &str| context.catalog.find(&instance.pattern, namespace).cloned();
        if let Some(binding) = self.enforced(mode).find(|binding| binding.is_required()) {
            return find(&binding.namespace);
        }
        let here =
            self.pod.is_some() || self.offered_here(labels) || self.cluster_bindings.is_empty();
        find(if here {
            &context.namespace.name
        } else {
            &context.catalog.home
        })
    }

    /// Parameters by layer, lowest first. Under a Required binding, layers above it keep only what it lets them set.
    /// What a namespace offers counts only where it is enabled.
    pub(super) fn layers(
        &self,
        pattern: &Pattern,
        mode: Mode,
        labels: Labels,
        context: &Context<'_>,
        warnings: &mut Vec<String>,
    ) -> Vec<Layer> {
        let here = &context.namespace.name;
        let enabled = labels.namespace == Label::Enabled;
        let mut stack = Stack {
            pattern,
            context,
            layers: Vec::new(),
            warnings,
        };
        let mut limits: Vec<&Binding> = Vec::new();
        for (bindings, counts_always) in [
            (&self.cluster_bindings, true),
            (&self.namespace_bindings, enabled),
        ] {
            // Bindings of one namespace do not limit each other: by name, the later one wins.
            let below = limits.clone();
            for binding in bindings
                .iter()
                .copied()
                .filter(|binding| counts(binding, mode) && (binding.is_required() || counts_always))
            {
                stack.push(
                    Source::binding(binding),
                    &binding.namespace,
                    &binding.spec.params,
                    &below,
                );
                limits.extend(binding.is_required().then_some(binding));
            }
        }
        let namespace = self
            .namespace
            .as_ref()
            .map(|(key, wish)| (Source::Namespace(key.text()), wish));
        let pod = self
            .pod
            .as_ref()
            .map(|(key, wish)| (Source::Pod(key.text()), wish));
        for (source, wish) in namespace.into_iter().chain(pod) {
            match (wish, limits.first()) {
                (Wish::Ask(_), _) if !enabled && matches!(source, Source::Namespace(_)) => {}
                (Wish::Ask(params), _) => stack.push(source, here, params, &limits),
                (Wish::Decline, Some(limit)) => stack.warnings.push(format!(
                    "{source} declines `{}`, which {} requires",
                    pattern.name,
                    Source::binding(limit)
                )),
                (Wish::Decline, None) => {}
            }
        }
        if let (Label::Disabled, Some(limit)) = (labels.pod, limits.first()) {
            stack.warnings.push(format!(
                "the label `{}: {}` does not keep out `{}`, which {} requires",
                keys::INJECTION,
                keys::DISABLED,
                pattern.name,
                Source::binding(limit)
            ));
        }
        stack.layers
    }
}

/// The sentence for a key whose role is not the pattern's.
pub(super) fn wrong_role(key: &Key, pattern: &Pattern) -> String {
    let right = Key {
        role: pattern.spec.role,
        ..key.clone()
    };
    format!(
        "annotation `{}`: `{}` is of the role `{}`: write `{}`",
        key.text(),
        pattern.name,
        pattern.spec.role,
        right.text()
    )
}

/// All bindings count for an audit, else those in mode Enforce.
pub(super) fn counts(binding: &Binding, mode: Mode) -> bool {
    mode == Mode::Audit || binding.spec.mode == Mode::Enforce
}

/// What the Pod's own annotations say; what cannot be understood is denied.
pub(super) fn pod_claims(
    pod: &Pod<'_>,
    context: &Context<'_>,
    claims: &mut BTreeMap<Instance, Claims<'_>>,
    settled: &mut Vec<Decision>,
) {
    for (key, raw) in pod
        .metadata
        .annotations
        .iter()
        .flat_map(crate::kubernetes::pod::Pairs::iter)
    {
        if !keys::is_ours(key) || wish::is_record(key) {
            continue;
        }
        let read = wish::key(key, context).and_then(|(instance, parsed)| match pod::string(raw) {
            Some(value) => Ok((instance, parsed, wish::wish(key, &value)?)),
            None if raw.get() == "null" => Err(format!(
                "annotation `{key}` has no value: write `\"\"` for all defaults"
            )),
            None => Err(format!(
                "annotation `{key}` is `{}`, expected a string: put single quotes around it",
                excerpt(raw.get(), 60)
            )),
        });
        match read {
            Ok((instance, parsed, wish)) => {
                let claim = claims.entry(instance).or_default();
                match claim.pod.take() {
                    None => claim.pod = Some((parsed, wish)),
                    // Two roles for one instance: at most one is the pattern's.
                    Some(earlier) => {
                        let pattern = context
                            .catalog
                            .find(earlier.0.pattern(), &context.namespace.name);
                        let (right, wrong) =
                            if pattern.is_some_and(|pattern| pattern.spec.role == parsed.role) {
                                ((parsed, wish), earlier.0)
                            } else {
                                (earlier, parsed)
                            };
                        claim.pod = Some(right);
                        if let Some(pattern) = pattern {
                            let sentence = wrong_role(&wrong, pattern);
                            settled.push(Decision::denied(
                                &wrong.text(),
                                Source::Pod(wrong.text()),
                                Reason::WrongRole,
                                sentence,
                            ));
                        }
                    }
                }
            }
            Err(sentence) => settled.push(Decision::denied(
                key,
                Source::Pod(key.to_owned()),
                Reason::InvalidAnnotation,
                sentence,
            )),
        }
    }
}

/// What the namespace's annotations say; what cannot be understood is only an offer, and skipped.
pub(super) fn namespace_claims(
    context: &Context<'_>,
    claims: &mut BTreeMap<Instance, Claims<'_>>,
    settled: &mut Vec<Decision>,
) {
    for (key, value) in crowd::offered(context, settled) {
        match wish::key(key, context)
            .and_then(|(instance, parsed)| Ok((instance, parsed, wish::wish(key, value)?)))
        {
            // Of two roles for one instance the pattern's own counts.
            Ok((instance, parsed, wish)) => {
                let claim = claims.entry(instance).or_default();
                let fits = |key: &Key| {
                    context
                        .catalog
                        .find(&key.instance, &context.namespace.name)
                        .is_none_or(|pattern| pattern.spec.role == key.role)
                };
                if claim.namespace.is_none() || fits(&parsed) {
                    claim.namespace = Some((parsed, wish));
                }
            }
            Err(sentence) => {
                let mut decision = Decision::new(
                    key.clone(),
                    vec![Source::Namespace(key.clone())],
                    Reason::InvalidAnnotation,
                );
                decision.sentence = format!("namespace `{}`: {sentence}", context.namespace.name);
                decision.settle(Force::Offered);
                settled.push(decision);
            }
        }
    }
}

/// `None` if the binding is not for this Pod, else which of its conditions could not be evaluated.
///
/// Selectors first: they reject most bindings for the price of a few comparisons. A condition that fails counts as a match for
/// Required, so that nobody escapes by breaking it, and as none for Default.
pub(super) fn matches(
    binding: &Binding,
    pod: &Pod<'_>,
    context: &Context<'_>,
    subject: &Subject<'_>,
) -> Option<Vec<String>> {
    let target = &binding.spec.target;
    let namespace = target
        .namespace_selector
        .as_ref()
        .is_none_or(|selector| selector.matches(|key| context.namespace.label(key)));
    if !namespace
        || !target
            .pod_selector
            .as_ref()
            .is_none_or(|selector| selector.matches(|key| pod.label(key)))
    {
        return None;
    }
    let mut unsure = Vec::new();
    for condition in &binding.conditions {
        match subject.satisfies(condition) {
            Some(true) => {}
            None if binding.is_required() => {
                unsure.push(format!(
                    "condition `{}` of {} fails on this Pod, which counts as a match",
                    condition.name,
                    Source::binding(binding)
                ));
            }
            _ => return None,
        }
    }
    Some(unsure)
}
