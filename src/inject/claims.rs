//! Claims: everything that is said about each instance, by the Pod, by its namespace and by bindings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Context;
use super::decide::{Force, Plan};
use super::decision::{Decision, Layer, Reason, Source};
use super::layers::Stack;
use super::wish::{self, Key, Wish};
use crate::binding::{Binding, Mode};
use crate::condition::Subject;
use crate::keys;
use crate::names::Instance;
use crate::pattern::Pattern;
use crate::pod::{self, Pod};
use crate::text::excerpt;

/// Everything that was said about one instance.
#[derive(Debug, Default)]
pub(super) struct Claims<'a> {
    pub(super) pod: Option<(Key, Wish)>,
    pub(super) namespace: Option<(Key, Wish)>,
    pub(super) cluster_bindings: Vec<&'a Binding>,
    pub(super) namespace_bindings: Vec<&'a Binding>,
}

/// The injection label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Enabled,
    Disabled,
    None,
}

impl<'a> Claims<'a> {
    pub(super) fn bindings(&self) -> impl Iterator<Item = &'a Binding> {
        self.cluster_bindings
            .iter()
            .chain(&self.namespace_bindings)
            .copied()
    }

    pub(super) fn enforced(&self, mode: Mode) -> impl Iterator<Item = &'a Binding> {
        self.bindings().filter(move |binding| counts(binding, mode))
    }

    pub(super) fn sources(&self, mode: Mode) -> Vec<Source> {
        let bindings = self.enforced(mode).map(Source::binding);
        let namespace = self
            .namespace
            .iter()
            .map(|(key, _)| Source::Namespace(key.text()));
        let pod = self.pod.iter().map(|(key, _)| Source::Pod(key.text()));
        bindings.chain(namespace).chain(pod).collect()
    }

    /// The pattern, looked up from where the strongest claim stands: no tenant can shadow what the platform requires.
    pub(super) fn pattern(
        &self,
        instance: &Instance,
        reason: Reason,
        mode: Mode,
        context: &Context<'_>,
    ) -> Option<Arc<Pattern>> {
        let here = &context.namespace.name;
        let find = |namespace: &str| context.catalog.find(&instance.pattern, namespace).cloned();
        if reason == Reason::Required
            && let Some(binding) = self.enforced(mode).find(|binding| binding.is_required())
        {
            return find(&binding.namespace);
        }
        let in_namespace =
            self.pod.is_some() || self.namespace.is_some() || !self.namespace_bindings.is_empty();
        find(if in_namespace {
            here
        } else {
            &context.catalog.home
        })
    }

    pub(super) fn wrong_role(&self, pattern: &Pattern) -> Option<String> {
        let keys = self.pod.iter().chain(&self.namespace).map(|(key, _)| key);
        let wrong = keys.into_iter().find(|key| key.role != pattern.spec.role)?;
        let right = Key {
            role: pattern.spec.role,
            ..wrong.clone()
        };
        Some(format!(
            "annotation `{}`: `{}` is of the role `{}`: write `{}`",
            wrong.text(),
            pattern.name,
            pattern.spec.role,
            right.text()
        ))
    }

    /// Parameters by layer, lowest first. Under a Required binding, layers above it keep only what it lets them set.
    pub(super) fn layers(
        &self,
        pattern: &Pattern,
        mode: Mode,
        pod_label: Label,
        context: &Context<'_>,
        warnings: &mut Vec<String>,
    ) -> Vec<Layer> {
        let here = &context.namespace.name;
        let mut stack = Stack {
            pattern,
            context,
            layers: Vec::new(),
            warnings,
        };
        let mut limits: Vec<&Binding> = Vec::new();
        for bindings in [&self.cluster_bindings, &self.namespace_bindings] {
            // Bindings of one namespace do not limit each other: by name, the later one wins.
            let below = limits.clone();
            for binding in bindings
                .iter()
                .copied()
                .filter(|binding| counts(binding, mode))
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
                (Wish::Ask(params), _) => stack.push(source, here, params, &limits),
                (Wish::Decline, Some(limit)) => stack.warnings.push(format!(
                    "{source} declines `{}`, which {} requires",
                    pattern.name,
                    Source::binding(limit)
                )),
                (Wish::Decline, None) => {}
            }
        }
        if let (Label::Disabled, Some(limit)) = (pod_label, limits.first()) {
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

/// All bindings count for an audit, else those in mode Enforce.
pub(super) fn counts(binding: &Binding, mode: Mode) -> bool {
    mode == Mode::Audit || binding.spec.mode == Mode::Enforce
}

/// What the Pod's own annotations say; what cannot be understood is denied.
pub(super) fn pod_claims(
    pod: &Pod<'_>,
    context: &Context<'_>,
    claims: &mut BTreeMap<Instance, Claims<'_>>,
    plan: &mut Plan,
) {
    for (key, raw) in pod
        .metadata
        .annotations
        .iter()
        .flat_map(|annotations| annotations.iter())
    {
        if !keys::is_ours(key) || wish::is_record(key) {
            continue;
        }
        let read = wish::key(key, context).and_then(|(instance, parsed)| match pod::string(raw) {
            Some(value) => Ok((instance, parsed, wish::wish(key, &value)?)),
            None => Err(format!(
                "annotation `{key}` is not a string: put `{}` in quotes",
                excerpt(raw.get(), 60)
            )),
        });
        match read {
            Ok((instance, parsed, wish)) => {
                claims.entry(instance).or_default().pod = Some((parsed, wish))
            }
            Err(sentence) => plan.settled.push(Decision::denied(
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
    plan: &mut Plan,
) {
    for (key, value) in &context.namespace.annotations {
        if !keys::is_ours(key) || wish::is_record(key) {
            continue;
        }
        match wish::key(key, context)
            .and_then(|(instance, parsed)| Ok((instance, parsed, wish::wish(key, value)?)))
        {
            Ok((instance, parsed, wish)) => {
                claims.entry(instance).or_default().namespace = Some((parsed, wish))
            }
            Err(sentence) => {
                let mut decision = Decision::new(
                    key.clone(),
                    vec![Source::Namespace(key.clone())],
                    Reason::InvalidAnnotation,
                );
                decision.sentence = format!("namespace `{}`: {sentence}", context.namespace.name);
                decision.settle(Force::Offered);
                plan.settled.push(decision);
            }
        }
    }
}

pub(super) fn injection_label(pod: &Pod<'_>, plan: &mut Plan) -> Label {
    let Some(value) = pod.label(keys::INJECTION) else {
        return Label::None;
    };
    match &*value {
        keys::ENABLED => Label::Enabled,
        keys::DISABLED => Label::Disabled,
        other => {
            let sentence = format!(
                "label `{}` is `{}`, expected `{}` or `{}`",
                keys::INJECTION,
                excerpt(other, 40),
                keys::ENABLED,
                keys::DISABLED
            );
            plan.settled.push(Decision::denied(
                keys::INJECTION,
                Source::Pod(keys::INJECTION.to_owned()),
                Reason::InvalidLabel,
                sentence,
            ));
            Label::None
        }
    }
}

pub(super) fn namespace_label(context: &Context<'_>) -> Label {
    match context
        .namespace
        .labels
        .get(keys::INJECTION)
        .map(String::as_str)
    {
        Some(keys::ENABLED) => Label::Enabled,
        Some(keys::DISABLED) => Label::Disabled,
        _ => Label::None,
    }
}

/// Selectors first: they reject most bindings for the price of a few comparisons. A condition that fails to evaluate counts as a
/// match for Required, so that nobody escapes by breaking it, and as none for Default.
pub(super) fn matches(
    binding: &Binding,
    pod: &Pod<'_>,
    context: &Context<'_>,
    subject: &Subject<'_>,
) -> bool {
    let target = &binding.spec.target;
    let namespace = target
        .namespace_selector
        .as_ref()
        .is_none_or(|selector| selector.matches(|key| namespace_value(context, key)));
    namespace
        && target
            .pod_selector
            .as_ref()
            .is_none_or(|selector| selector.matches(|key| pod.label(key)))
        && binding.conditions.iter().all(|condition| {
            subject
                .satisfies(condition)
                .unwrap_or(binding.is_required())
        })
}

/// A namespace's label; the one that names it is always there in a cluster, and here too.
fn namespace_value<'a>(context: &Context<'a>, key: &str) -> Option<&'a str> {
    match context.namespace.labels.get(key) {
        Some(value) => Some(value),
        None if key == "kubernetes.io/metadata.name" => Some(&context.namespace.name),
        None => None,
    }
}
