//! The status annotation: what was injected, and what it takes to take it out again.
//!
//! Compact JSON without timestamps, so that the same Pod always gets the same text. It is the Pod author's to forge, so nothing
//! here is trusted for more than the author could do himself; a Required instance is rendered again instead (see [`super::verify`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::crowd::MAX_INSTANCES;
use crate::keys;
use crate::kubernetes::pod::Pod;

/// The version that this code writes and reads.
const VERSION: u32 = 1;

/// The annotation's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    version: u32,
    /// By instance.
    pub instances: BTreeMap<String, Record>,
}

/// What one instance added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Record {
    /// Who wanted it: `pod`, `namespace` or `binding:<namespace>/<name>`.
    pub source: String,
    /// Where the pattern was found: a namespace, or `built-in`.
    pub pattern: String,
    /// The pattern's revision.
    pub revision: String,
    /// Hash of the parameters, defaults included, `into` and `override` too.
    pub params: String,
    /// Containers and init containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// Annotation keys besides those of `files`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// App containers that `into` named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Names added to each app container's `env`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Vec<String>>,
    /// Paths added to each app container's `volumeMounts`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Vec<String>>,
    /// Given ports.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// Hash of each config file as injected.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Config files whose annotation the Pod brought along itself: they stay when the rest is taken out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub brought: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpose: Option<Interposed>,
}

/// What interpose changed, with the old values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interposed {
    /// The app container whose port this chain stands before.
    pub container: String,
    /// That port's number.
    pub port: i64,
    /// That port's name, which it lost; absent if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where this interposer listens.
    pub listen: i64,
    /// Where it sends what it lets through: the app's port or the next interposer's.
    pub upstream: i64,
    /// Paths, within the app container, that held the name and now hold the number: `livenessProbe/httpGet/port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<String>,
}

impl Status {
    /// What the Pod brings along: nothing, a status, or a sentence on why its annotation is none.
    pub fn read(pod: &Pod<'_>) -> Result<Option<Self>, String> {
        let Some(text) = pod.annotation(keys::STATUS) else {
            let there = pod
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|annotations| annotations.has(keys::STATUS));
            return if there {
                Err(format!("annotation `{}` is not a string", keys::STATUS))
            } else {
                Ok(None)
            };
        };
        Self::parse(&text).map(Some)
    }

    /// Reads the annotation's value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hint = "leave it to Outrigger: remove it, or take it over unchanged together with what it records";
        let status: Self = serde_json::from_str(text).map_err(|error| {
            format!(
                "annotation `{}` is not a status ({error}): {hint}",
                keys::STATUS
            )
        })?;
        if status.version != VERSION {
            return Err(format!(
                "annotation `{}` has version `{}`, expected `{VERSION}`: {hint}",
                keys::STATUS,
                status.version
            ));
        }
        if status.instances.len() > MAX_INSTANCES {
            return Err(format!(
                "annotation `{}` records {} helpers, expected at most {MAX_INSTANCES}: {hint}",
                keys::STATUS,
                status.instances.len()
            ));
        }
        for (name, record) in &status.instances {
            record.plausible(name)?;
        }
        Ok(status)
    }

    /// The annotation's value.
    #[must_use]
    pub fn text(&self) -> String {
        let current = Self {
            version: VERSION,
            instances: self.instances.clone(),
        };
        serde_json::to_string(&current).unwrap_or_default()
    }

    /// True if some instance added the volume.
    #[must_use]
    pub fn has_volume(&self, name: &str) -> bool {
        self.instances
            .values()
            .any(|record| record.volumes.iter().any(|volume| volume == name))
    }

    /// True if some instance added the container.
    #[must_use]
    pub fn has_container(&self, name: &str) -> bool {
        self.instances
            .values()
            .any(|record| record.containers.iter().any(|container| container == name))
    }
}

impl Record {
    /// Names that no such instance can have added are a forgery, and `uninject` would take away the user's own.
    fn plausible(&self, instance: &str) -> Result<(), String> {
        let parsed = crate::kubernetes::names::Instance::parse(instance)
            .map_err(|sentence| format!("annotation `{}`: {sentence}", keys::STATUS))?;
        let first = parsed.container();
        let own = |name: &str| {
            name == first
                || name
                    .strip_prefix(&first)
                    .is_some_and(|rest| rest.starts_with('-'))
        };
        let strange = self.containers.iter().find(|name| !own(name)).or_else(|| {
            self.volumes
                .iter()
                .find(|name| !name.strip_prefix(keys::VOLUME_PREFIX).is_some_and(own))
        });
        match strange {
            Some(name) => Err(format!(
                "annotation `{}` says that `{instance}` added `{name}`, which it cannot have: remove the annotation",
                keys::STATUS
            )),
            None => Ok(()),
        }
    }

    /// Annotation keys of the config files that the injection added.
    pub fn added_file_keys<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = String> + 'a {
        let added = self
            .files
            .keys()
            .filter(|file| !self.brought.contains(file));
        added.map(move |file| file_key(instance, file))
    }

    /// Annotation keys of the config files.
    pub fn file_keys<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = String> + 'a {
        self.files.keys().map(move |file| file_key(instance, file))
    }
}

/// `files.outrigger.dev/<instance>.<file>`.
#[must_use]
pub fn file_key(instance: &str, file: &str) -> String {
    format!("{}/{instance}.{file}", keys::FILES_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_reads_back() {
        let record = Record {
            source: "pod".to_owned(),
            containers: vec!["https".to_owned()],
            ..Record::default()
        };
        let status = Status {
            version: VERSION,
            instances: [("https".to_owned(), record)].into(),
        };
        assert_eq!(Status::parse(&status.text()), Ok(status));
    }

    #[test]
    fn forgeries_are_sentences() {
        for (text, expected) in [
            ("{}", "is not a status"),
            ("[]", "is not a status"),
            (
                r#"{"version":2,"instances":{}}"#,
                "has version `2`, expected `1`",
            ),
            (
                r#"{"version":1,"instances":{"https":{"containers":["app"]}}}"#,
                "says that `https` added `app`, which it cannot have",
            ),
            (
                r#"{"version":1,"instances":{"https":{"volumes":["data"]}}}"#,
                "says that `https` added `data`, which it cannot have",
            ),
            (
                r#"{"version":1,"instances":{"A":{}}}"#,
                "`A` is not a pattern's name",
            ),
        ] {
            let sentence = Status::parse(text).unwrap_err();
            assert!(sentence.contains(expected), "{sentence}");
        }
    }
}
