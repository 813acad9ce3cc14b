//! A borrowed view of a Pod: what decide, merge and check need, and nothing else.
//!
//! The view points into the bytes it was read from. Fields that nobody asks about are skipped, not built: `managedFields` alone is
//! a third of a review. What is needed only now and then stays raw JSON and is parsed on demand. The Pod itself is never written
//! back from here: the patch names what to add, so a field that this file has never heard of survives.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::keys;
use crate::kubernetes::mapping::Mapping;

/// The Pod is not a Pod: refuse it with this sentence; nothing can be decided about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON, or a field that we read has a type that no Pod has.
    #[error("not a Pod: {}{source}", at(path))]
    Shape {
        path: String,
        source: serde_json::Error,
    },
    /// JSON is UTF-8 (RFC 8259 §8.1).
    #[error("not a Pod: the JSON is not UTF-8")]
    Encoding,
    /// JSON that ends early or is no JSON.
    #[error("not a Pod: {0}")]
    Syntax(serde_json::Error),
}

/// The root has no path.
fn at(path: &str) -> String {
    if path == "." {
        String::new()
    } else {
        format!("at `{path}`: ")
    }
}

/// A view of one Pod.
#[derive(Debug)]
pub struct Pod<'a> {
    pub metadata: Metadata<'a>,
    pub spec: Spec<'a>,
    /// False where `metadata` is absent or null, so that a patch has to create it.
    pub has_metadata: bool,
    document: &'a str,
    /// Where the Pod stands in the document: keys from the root.
    way: &'static [&'static str],
    value: OnceCell<Value>,
}

/// The two parts that we look into; `status` and the rest are skipped. A document that a Pod is part of has this as a field.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
pub struct Parts<'a> {
    #[serde(borrow, default)]
    metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    spec: Spec<'a>,
}

/// `metadata`, as far as we read it.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a mapping")]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// What the API server makes the name of, where there is none yet.
    #[serde(borrow, default)]
    pub generate_name: Option<&'a RawValue>,
    /// Who made the Pod.
    #[serde(borrow, default)]
    pub owner_references: Option<&'a RawValue>,
    /// `None`: absent or null, so that a patch has to create it.
    #[serde(borrow, default)]
    pub annotations: Option<Pairs<'a>>,
    /// `None`: absent or null, so that a patch has to create it.
    #[serde(borrow, default)]
    pub labels: Option<Pairs<'a>>,
}

impl Metadata<'_> {
    /// `name`, which the request knows; where it is empty, what it will be made of.
    #[must_use]
    pub fn name_or_generated(&self, name: &str) -> String {
        if name.is_empty() {
            self.generate_name
                .and_then(string)
                .unwrap_or_default()
                .into_owned()
        } else {
            name.to_owned()
        }
    }
}

/// `spec`, as far as we read it. A list that is `None` is absent or null, so that a patch has to create it.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a mapping")]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    #[serde(borrow)]
    pub containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    pub init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow, default)]
    pub volumes: Option<Vec<Named<'a>>>,
    #[serde(borrow, default)]
    pub image_pull_secrets: Option<Vec<Named<'a>>>,
    #[serde(default, deserialize_with = "or_default")]
    pub host_network: bool,
    #[serde(borrow, default)]
    pub resources: Option<&'a RawValue>,
    #[serde(default)]
    pub termination_grace_period_seconds: Option<i64>,
    #[serde(borrow, default)]
    pub os: Option<Named<'a>>,
    #[serde(borrow, default)]
    pub node_selector: Option<Pairs<'a>>,
}

/// A container, init container or native sidecar.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub ports: Option<Vec<Port<'a>>>,
    #[serde(borrow, default)]
    pub env: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub volume_mounts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub volume_devices: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub startup_probe: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub liveness_probe: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub readiness_probe: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub lifecycle: Option<&'a RawValue>,
}

/// A container's port.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
#[serde(rename_all = "camelCase")]
pub struct Port<'a> {
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "integer")]
    pub container_port: i64,
    /// `None` means TCP.
    #[serde(borrow, default)]
    pub protocol: Option<Cow<'a, str>>,
}

impl Port<'_> {
    /// `TCP` unless it says otherwise.
    #[must_use]
    pub fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }
}

/// An object of which only the name matters here.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a mapping")]
pub struct Named<'a> {
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
}

/// The entries of a JSON object of strings, in their order, values still raw: most are never looked at.
#[derive(Debug, Default)]
pub struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Pairs<'a> {
    /// The entries; a value is the raw JSON text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (&**key, *value))
    }

    /// The string under `key`; `None` where it is absent or no string.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Cow<'a, str>> {
        let (_, raw) = self.0.iter().find(|(candidate, _)| candidate == key)?;
        string(raw)
    }

    /// True if there is such a key, whatever its value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(candidate, _)| candidate == key)
    }
}

/// The string that `raw` holds; `None` where it holds something else. Borrows where nothing is escaped.
#[must_use]
pub fn string<'a>(raw: &'a RawValue) -> Option<Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'a>>(raw.get())
        .ok()
        .map(|Text(text)| text)
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// People know integers, not `i64`.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Integer;
    impl Visitor<'_> for Integer {
        type Value = i64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an integer")
        }
        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<i64, E> {
            Ok(value)
        }
        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<i64, E> {
            i64::try_from(value).map_err(E::custom)
        }
    }
    deserializer.deserialize_i64(Integer)
}

/// Null counts as absent, as it does for the API server.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl<'a> Pod<'a> {
    /// Reads `bytes`, a Pod or a Pod template as JSON.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        // One pass over the bytes for UTF-8 is cheaper than serde_json's check of each string.
        let text = std::str::from_utf8(bytes).map_err(|_| Error::Encoding)?;
        match serde_json::from_str(text) {
            Ok(Mapping(parts)) => Ok(Self::within(parts, text, &[])),
            Err(error) => Err(explain(bytes, error)),
        }
    }

    /// A Pod that was read together with the `document` around it, which holds it at `way`: keys from the root.
    #[must_use]
    pub fn within(parts: Parts<'a>, document: &'a str, way: &'static [&'static str]) -> Self {
        let Parts { metadata, spec } = parts;
        Self {
            has_metadata: metadata.is_some(),
            metadata: metadata.unwrap_or_default(),
            spec,
            document,
            way,
            value: OnceCell::new(),
        }
    }

    /// The whole Pod, parsed on first use: for CEL and for templates that say `pod`. Null if it nests deeper than a parser may go.
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| {
            let document: Value = serde_json::from_str(self.document).unwrap_or_default();
            self.way.iter().fold(document, |mut value, key| {
                value.get_mut(*key).map(Value::take).unwrap_or_default()
            })
        })
    }

    /// The annotation's text; `None` where it is absent or no string.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<Cow<'a, str>> {
        self.metadata.annotations.as_ref()?.get(key)
    }

    /// The label's text; `None` where it is absent or no string.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<Cow<'a, str>> {
        self.metadata.labels.as_ref()?.get(key)
    }

    /// Regular containers, then init containers, each with its place.
    pub fn containers(&self) -> impl Iterator<Item = (Slot, &Container<'a>)> {
        let regular = self.spec.containers.iter().enumerate();
        let init = self.spec.init_containers.iter().flatten().enumerate();
        regular
            .map(|(index, container)| {
                (
                    Slot {
                        list: List::Regular,
                        index,
                    },
                    container,
                )
            })
            .chain(init.map(|(index, container)| {
                (
                    Slot {
                        list: List::Init,
                        index,
                    },
                    container,
                )
            }))
    }

    /// True for a static Pod's picture in the API.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.metadata
            .annotations
            .as_ref()
            .is_some_and(|annotations| annotations.has(keys::MIRROR))
    }

    /// True where the Pod will run on Windows nodes, as far as admission can know.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        match &self.spec.os {
            Some(os) => os.name == "windows",
            None => self
                .spec
                .node_selector
                .as_ref()
                .and_then(|selector| selector.get(keys::OS_LABEL))
                .is_some_and(|os| os == "windows"),
        }
    }
}

/// Which of the two lists a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    Regular,
    Init,
}

impl List {
    /// The field's name in the Pod spec.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Regular => "containers",
            Self::Init => "initContainers",
        }
    }
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub list: List,
    pub index: usize,
}

/// Parses again, slowly, to name the field.
#[cold]
fn explain(bytes: &[u8], error: serde_json::Error) -> Error {
    if !error.is_data() {
        return Error::Syntax(error);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, Mapping<Parts<'_>>>(&mut deserializer) {
        Ok(_) => Error::Syntax(error),
        Err(traced) => Error::Shape {
            path: traced.path().to_string(),
            source: traced.into_inner(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_count_as_absent() {
        let pod = Pod::read(
            br#"{"metadata":null,"spec":{"containers":[],"volumes":null,"hostNetwork":null}}"#,
        )
        .unwrap();
        assert!(!pod.has_metadata && pod.metadata.annotations.is_none());
        assert!(pod.spec.volumes.is_none());
        assert_eq!(pod.containers().count(), 0);
    }

    #[test]
    fn escaped_strings_are_unescaped() {
        let pod =
            Pod::read(br#"{"metadata":{"annotations":{"a\/b":"x\ny"}},"spec":{"containers":[]}}"#)
                .unwrap();
        assert_eq!(pod.annotation("a/b").unwrap(), "x\ny");
    }

    #[test]
    fn the_wrong_shape_is_named() {
        let error = Pod::read(br#"{"spec":{"containers":[{"ports":[{"containerPort":"80"}]}]}}"#)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a Pod: at `spec.containers[0].ports[0].containerPort`: invalid type: string \"80\", expected an integer at line 1 column 54"
        );
    }
}
