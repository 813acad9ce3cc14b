//! Manifests: files, directories and streams of YAML documents, and the Pod templates in them.
//!
//! A document that nothing is done to leaves byte for byte as it came.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::keys;
use crate::yaml::{self, Step};

/// One YAML document and where it came from.
#[derive(Debug, Clone)]
pub struct Document {
    file: Rc<str>,
    /// Lines of the file before the document.
    offset: u64,
    /// As written, without the separator.
    pub text: String,
    /// As read; null for a document of comments only.
    pub value: Value,
}

/// One sentence about a place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// `file:line:column`, as far as it is known.
    pub place: String,
    pub message: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.place, self.message)
        }
    }
}

impl Document {
    /// A sentence about the field at `path`.
    #[must_use]
    pub fn complain(&self, path: &[Step], message: impl Into<String>) -> Complaint {
        let place = yaml::locate(&self.text, path).map_or_else(
            || format!("{}:{}", self.file, self.offset + 1),
            |place| {
                format!(
                    "{}:{}:{}",
                    self.file,
                    place.line + self.offset,
                    place.column
                )
            },
        );
        Complaint {
            place,
            message: message.into(),
        }
    }

    /// `Deployment shop`, for people.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.value)
    }

    /// The file's name as given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// `Deployment shop`: what an object is called among people.
#[must_use]
pub fn title(object: &Value) -> String {
    let kind = object
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or("object");
    let name = |field: &str| {
        object
            .get("metadata")
            .and_then(|metadata| metadata.get(field))
            .and_then(Value::as_str)
    };
    match name("name").or_else(|| name("generateName")) {
        Some(name) => format!("{kind} {name}"),
        None => kind.to_owned(),
    }
}

/// Reads every document of `paths`: files, directories (their `.yaml`, `.yml` and `.json` files, by name), `-` for standard input.
/// The outer error is the environment's, the inner ones are the documents'.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Result<Vec<Document>, Vec<Complaint>>> {
    let mut documents = Vec::new();
    let mut complaints = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .context("standard input")?;
            decode("<stdin>", bytes, &mut documents, &mut complaints);
            continue;
        }
        for file in files(path)? {
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            decode(
                &file.display().to_string(),
                bytes,
                &mut documents,
                &mut complaints,
            );
        }
    }
    Ok(if complaints.is_empty() {
        Ok(documents)
    } else {
        Err(complaints)
    })
}

/// Splits a stream that is text; the complaint names the first byte that is not.
fn decode(
    file: &str,
    bytes: Vec<u8>,
    documents: &mut Vec<Document>,
    complaints: &mut Vec<Complaint>,
) {
    match String::from_utf8(bytes) {
        Ok(text) => split(file, &text, documents, complaints),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.split(|byte| *byte == b'\n').count();
            let column = good
                .rsplit(|byte| *byte == b'\n')
                .next()
                .map_or(0, <[u8]>::len);
            complaints.push(Complaint {
                place: format!("{file}:{line}:{}", column + 1),
                message: "not YAML: the file is not UTF-8".to_owned(),
            });
        }
    }
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
        let entry = entry.with_context(|| path.display().to_string())?.path();
        let known = entry.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension == *known)
        });
        if known && entry.is_file() {
            found.push(entry);
        }
    }
    if found.is_empty() {
        bail!(
            "{}: no .yaml, .yml or .json file is in this directory",
            path.display()
        );
    }
    found.sort();
    Ok(found)
}

/// Splits a stream at its separators. `---` at the start of a line separates documents wherever it stands: YAML does not allow it
/// inside a scalar (§9.1.2, c-forbidden).
fn split(file: &str, text: &str, documents: &mut Vec<Document>, complaints: &mut Vec<Complaint>) {
    let file: Rc<str> = file.into();
    let mut parts: Vec<(u64, String)> = vec![(0, String::new())];
    for (index, line) in text
        .trim_start_matches('\u{feff}')
        .split_inclusive('\n')
        .enumerate()
    {
        let separator = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']));
        match (separator, parts.last_mut()) {
            (Some(rest), _) => {
                let rest = rest.trim_start_matches([' ', '\t']);
                let content = if rest.trim().is_empty() || rest.starts_with('#') {
                    String::new()
                } else {
                    rest.to_owned()
                };
                let skipped = u64::from(content.is_empty());
                parts.push((index as u64 + skipped, content));
            }
            // A directive stands before a document; elsewhere the parser has to complain.
            (None, Some((_, part))) if part.trim().is_empty() && line.starts_with('%') => {}
            (None, Some((_, part))) => part.push_str(line),
            (None, None) => {}
        }
    }
    for (offset, part) in parts
        .into_iter()
        .filter(|(_, part)| !part.trim().is_empty())
    {
        match yaml::read(&part) {
            Ok(value) => documents.push(Document {
                file: file.clone(),
                offset,
                text: part,
                value,
            }),
            Err(error) => {
                let place = error.place.map_or_else(
                    || format!("{file}:{}", offset + 1),
                    |place| format!("{file}:{}:{}", place.line + offset, place.column),
                );
                complaints.push(Complaint {
                    place,
                    message: format!("not YAML: {}", error.message),
                });
            }
        }
    }
}

/// An object of a document: the document itself, or an item of a List.
#[derive(Debug, Clone)]
pub struct Object<'d> {
    document: &'d Document,
    path: Vec<Step>,
    pub value: &'d Value,
}

impl Object<'_> {
    /// A sentence about the object's field at `path`.
    #[must_use]
    pub fn complain(&self, path: &[Step], message: &str) -> Complaint {
        let whole: Vec<Step> = self.path.iter().chain(path).cloned().collect();
        self.document
            .complain(&whole, format!("{}: {message}", title(self.value)))
    }

    /// True for an object of that `apiVersion` and `kind`.
    #[must_use]
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        let text = |key: &str| self.value.get(key).and_then(Value::as_str);
        text("apiVersion") == Some(api_version) && text("kind") == Some(kind)
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.value.get("metadata")?.get("namespace")?.as_str()
    }
}

/// The objects of a document, Lists opened; none in a document of comments.
#[must_use]
pub fn objects(document: &Document) -> Vec<Object<'_>> {
    let mut found = Vec::new();
    open(&document.value, Vec::new(), &mut found);
    found
        .into_iter()
        .map(|(path, value)| Object {
            document,
            path,
            value,
        })
        .collect()
}

/// The objects in a value and the ways to them.
fn open<'v>(value: &'v Value, path: Vec<Step>, found: &mut Vec<(Vec<Step>, &'v Value)>) {
    let is_list = value
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.ends_with("List"));
    match value.get("items").and_then(Value::as_array) {
        Some(items) if is_list => {
            for (index, item) in items.iter().enumerate() {
                let mut path = path.clone();
                path.extend([Step::Key("items".to_owned()), Step::Index(index)]);
                open(item, path, found);
            }
        }
        _ if value.is_null() => {}
        _ => found.push((path, value)),
    }
}

/// A Pod or Pod template within an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// From the document's root to the object: `items`, 0 in a List, else nothing.
    pub object: Vec<Step>,
    /// From the object to the template: nothing for a Pod.
    pub template: Vec<Step>,
}

impl Template {
    /// From the document's root to the template.
    #[must_use]
    pub fn path(&self) -> Vec<Step> {
        self.object.iter().chain(&self.template).cloned().collect()
    }

    /// The template as a JSON Pointer from its object: `/spec/template`.
    #[must_use]
    pub fn pointer(&self) -> String {
        self.template
            .iter()
            .map(|step| match step {
                Step::Key(key) => format!("/{}", crate::inject::escape(key)),
                Step::Index(index) => format!("/{index}"),
            })
            .collect()
    }
}

/// Every Pod template of a document.
#[must_use]
pub fn templates(document: &Value) -> Vec<Template> {
    let mut found = Vec::new();
    open(document, Vec::new(), &mut found);
    found
        .into_iter()
        .filter_map(|(object, value)| {
            Some(Template {
                object,
                template: template(value)?,
            })
        })
        .collect()
}

/// The way from an object to its Pod template, if its kind has one and it is there.
fn template(object: &Value) -> Option<Vec<Step>> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let keys = match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => &[][..],
        ("v1", "ReplicationController")
        | ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch/v1", "Job") => &["spec", "template"],
        ("batch/v1", "CronJob") => &["spec", "jobTemplate", "spec", "template"],
        _ => return None,
    };
    let steps: Vec<Step> = keys
        .iter()
        .map(|key| Step::Key((*key).to_owned()))
        .collect();
    get(object, &steps).is_some().then_some(steps)
}

/// The value at `path`.
#[must_use]
pub fn get<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// The value at `path`, to change.
pub fn get_mut<'a>(value: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}

/// Sentences about annotations that ask for something where nobody reads them: on a workload itself, or on a CronJob's jobs.
#[must_use]
pub fn misplaced(document: &Document, template: &Template) -> Vec<Complaint> {
    let whole = template.path();
    let mut complaints = Vec::new();
    for end in template.object.len()..whole.len() {
        let metadata: Vec<Step> = whole[..end]
            .iter()
            .cloned()
            .chain(["metadata", "annotations"].map(|key| Step::Key(key.to_owned())))
            .collect();
        let annotations = get(&document.value, &metadata).and_then(Value::as_object);
        for key in annotations
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
            .filter(|key| keys::is_ours(key))
        {
            let mut path = metadata.clone();
            path.push(Step::Key(key.clone()));
            let title = get(&document.value, &template.object)
                .map(title)
                .unwrap_or_default();
            complaints.push(document.complain(&path, format!("{title}: annotation `{key}` does nothing here: move it to the annotations of the Pod template")));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn documents(text: &str) -> Vec<Document> {
        let (mut documents, mut complaints) = (Vec::new(), Vec::new());
        split("f.yaml", text, &mut documents, &mut complaints);
        assert_eq!(complaints, []);
        documents
    }

    #[test]
    fn streams_are_split_and_keep_their_lines() {
        let documents =
            documents("%YAML 1.2\n---\n# first\na: |\n  x\n  --- y\n--- # note\n---\nb: 1\n");
        assert_eq!(
            documents
                .iter()
                .map(|document| document.text.as_str())
                .collect::<Vec<_>>(),
            ["# first\na: |\n  x\n  --- y\n", "b: 1\n"]
        );
        assert_eq!(
            documents[1]
                .complain(&[Step::Key("b".to_owned())], "m")
                .to_string(),
            "f.yaml:9:1: m"
        );
    }

    #[test]
    fn what_does_not_parse_is_placed_in_the_file() {
        let (mut documents, mut complaints) = (Vec::new(), Vec::new());
        split(
            "f.yaml",
            "a: 1\n---\nb: [1\n---\nc: 1\nc: 2\n",
            &mut documents,
            &mut complaints,
        );
        assert_eq!(documents.len(), 1);
        assert_eq!(complaints[1].place, "f.yaml:6:1");
        assert!(complaints[0].place.starts_with("f.yaml:"), "{complaints:?}");
    }

    #[test]
    fn templates_are_found_in_every_kind() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {}});
        let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {}}}}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod, {"apiVersion": "v1", "kind": "Service"}, cron]});
        let found: Vec<_> = templates(&list)
            .iter()
            .map(|template| (template.object.clone(), template.pointer()))
            .collect();
        let item = |index| vec![Step::Key("items".to_owned()), Step::Index(index)];
        assert_eq!(
            found,
            [
                (item(0), String::new()),
                (item(2), "/spec/jobTemplate/spec/template".to_owned())
            ]
        );
        let foreign =
            json!({"apiVersion": "example.com/v1", "kind": "Job", "spec": {"template": {}}});
        assert_eq!(templates(&foreign), []);
    }
}
