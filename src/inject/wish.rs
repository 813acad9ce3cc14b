//! Wish: what one annotation says. Parsed here once; a bad one is a sentence for whoever wrote it.

use serde_json::{Map, Value};

use super::Context;
use crate::keys;
use crate::kubernetes::names::Instance;
use crate::pattern::Role;
use crate::text::{excerpt, or_list, suggestion};
use crate::yaml;

/// The parts of an annotation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) role: Role,
    pub(crate) instance: String,
}

impl Key {
    /// The pattern's name: the instance without its suffix.
    pub(crate) fn pattern(&self) -> &str {
        self.instance.split('.').next().unwrap_or_default()
    }

    /// `<role>.outrigger.dev/<instance>`.
    pub(crate) fn text(&self) -> String {
        format!("{}.{}/{}", self.role, keys::GROUP, self.instance)
    }
}

/// What an annotation wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wish {
    /// This instance, with these parameters.
    Ask(Map<String, Value>),
    /// Not this instance.
    Decline,
}

impl Wish {
    pub(crate) fn asks(&self) -> bool {
        matches!(self, Self::Ask(_))
    }
}

/// True for the annotations that we write ourselves.
pub(crate) fn is_record(key: &str) -> bool {
    key == keys::STATUS
        || key
            .strip_prefix(keys::FILES_PREFIX)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Reads a key that [`keys::is_ours`].
pub(crate) fn key(text: &str, context: &Context<'_>) -> Result<(Instance, Key), String> {
    if text == keys::INJECTION {
        return Err(format!(
            "annotation `{text}` means nothing to Outrigger: it is a label, put it among the labels"
        ));
    }
    let (domain, name) = text.split_once('/').unwrap_or((text, ""));
    let roles = || Role::ALL.iter().map(|role| role.as_str());
    let Some(role) = domain
        .strip_suffix(keys::GROUP)
        .and_then(|rest| Role::parse(rest.strip_suffix('.').unwrap_or(rest)))
    else {
        let word = domain
            .strip_suffix(keys::GROUP)
            .unwrap_or_default()
            .trim_end_matches('.');
        let pattern = context.catalog.find(
            name.split('.').next().unwrap_or_default(),
            &context.namespace.name,
        );
        let hint = match pattern {
            Some(pattern) => format!(
                ": did you mean `{}.{}/{name}`?",
                pattern.spec.role,
                keys::GROUP
            ),
            None => match suggestion(word, roles()) {
                near if near.is_empty() => format!(
                    ", expected `<role>.{}/<pattern>` with the role {}",
                    keys::GROUP,
                    or_list(roles())
                ),
                near => near,
            },
        };
        return Err(format!(
            "annotation `{}` means nothing to Outrigger{hint}",
            excerpt(text, 120)
        ));
    };
    let instance = Instance::parse(name).map_err(|sentence| {
        let pattern = name.split('.').next().unwrap_or_default();
        let known = context.catalog.patterns(&context.namespace.name);
        let mut names = known.iter().map(|pattern| pattern.name.as_str());
        let near = if names.clone().any(|known| known == pattern) {
            String::new()
        } else {
            suggestion(&pattern.to_lowercase().replace('_', "-"), &mut names)
        };
        format!("annotation `{}`: {sentence}{near}", excerpt(text, 120))
    })?;
    Ok((
        instance,
        Key {
            role,
            instance: name.to_owned(),
        },
    ))
}

/// Reads an annotation's value; `key` is only for the sentence.
pub(crate) fn wish(key: &str, value: &str) -> Result<Wish, String> {
    let value = value.trim();
    match value {
        "" | "true" | "enabled" => return Ok(Wish::Ask(Map::new())),
        "false" | "disabled" => return Ok(Wish::Decline),
        _ => {}
    }
    if value.len() > yaml::MAX_ANNOTATION {
        return Err(format!(
            "annotation `{key}` is {} bytes long, expected at most {}",
            value.len(),
            yaml::MAX_ANNOTATION
        ));
    }
    match yaml::read_annotation(value) {
        Ok(Value::Object(params)) => Ok(Wish::Ask(params)),
        Ok(_) => Err(format!(
            "annotation `{key}` is `{}`, expected a mapping such as `{{port: 8080}}`, or `true`, or `false`",
            excerpt(value, 60)
        )),
        Err(error) => {
            let place = error
                .place
                .map(|place| format!(" at line {}, column {}", place.line, place.column))
                .unwrap_or_default();
            Err(format!(
                "annotation `{key}` is not YAML{place}: {} in `{}`",
                error.message,
                excerpt(value, 60)
            ))
        }
    }
}
