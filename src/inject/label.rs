//! The injection label, the same on Pods and namespaces.

use super::Context;
use super::decision::{Decision, Reason, Source};
use crate::keys;
use crate::kubernetes::pod::Pod;
use crate::text::excerpt;

/// The injection label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Enabled,
    Disabled,
    None,
}

/// The injection label of the Pod and of its namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels {
    pub(super) pod: Label,
    pub(super) namespace: Label,
}

pub(super) fn injection_label(pod: &Pod<'_>, settled: &mut Vec<Decision>) -> Label {
    let Some(value) = pod.label(keys::INJECTION) else {
        let labels = pod
            .metadata
            .labels
            .iter()
            .flat_map(crate::kubernetes::pod::Pairs::iter);
        if let Some((_, raw)) = labels.into_iter().find(|(key, _)| *key == keys::INJECTION) {
            let sentence = format!(
                "label `{}` is not a string: write `{}` or `{}` instead of `{}`",
                keys::INJECTION,
                keys::ENABLED,
                keys::DISABLED,
                excerpt(raw.get(), 40)
            );
            settled.push(Decision::denied(
                keys::INJECTION,
                Source::Pod(keys::INJECTION.to_owned()),
                Reason::InvalidLabel,
                sentence,
            ));
        }
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
            settled.push(Decision::denied(
                keys::INJECTION,
                Source::Pod(keys::INJECTION.to_owned()),
                Reason::InvalidLabel,
                sentence,
            ));
            Label::None
        }
    }
}

/// The label's value on the namespace, if it is neither of the two that mean something.
pub(super) fn odd_namespace_label<'a>(context: &Context<'a>) -> Option<&'a str> {
    let value = context.namespace.labels.get(keys::INJECTION)?;
    (value != keys::ENABLED && value != keys::DISABLED).then_some(value)
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
