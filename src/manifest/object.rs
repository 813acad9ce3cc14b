//! Objects of documents, Lists opened, and the Pod templates in them.

use serde_json::Value;

use super::{Complaint, Document};
use crate::keys;
use crate::text::excerpt;
use crate::yaml::Step;

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

/// The objects in a value and the ways to them. Items of a `PodList` and its like may leave their kind to the list.
fn open<'v>(value: &'v Value, path: Vec<Step>, found: &mut Vec<(Vec<Step>, &'v Value)>) {
    let is_list = kind(value).ends_with("List");
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

fn kind(value: &Value) -> &str {
    value
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
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
    let list = (
        document
            .get("apiVersion")
            .and_then(Value::as_str)
            .unwrap_or_default(),
        kind(document).strip_suffix("List").unwrap_or_default(),
    );
    found
        .into_iter()
        .filter_map(|(object, value)| {
            Some(Template {
                object,
                template: template(value, list)?,
            })
        })
        .collect()
}

/// The way from an object to its Pod template, if its kind has one and it is there.
fn template(object: &Value, list: (&str, &str)) -> Option<Vec<Step>> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let api_version = text("apiVersion").unwrap_or(list.0);
    let keys = match (api_version, text("kind").unwrap_or(list.1)) {
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

/// Sentences about annotations that ask for something where nobody reads them: on a workload itself, or on a CronJob's jobs. Each with
/// its place.
#[must_use]
pub fn misplaced(document: &Value, template: &Template) -> Vec<(Vec<Step>, String)> {
    let whole = template.path();
    let title = get(document, &template.object)
        .map(title)
        .unwrap_or_default();
    let mut found = Vec::new();
    for end in template.object.len()..whole.len() {
        let metadata: Vec<Step> = whole[..end]
            .iter()
            .cloned()
            .chain(["metadata", "annotations"].map(|key| Step::Key(key.to_owned())))
            .collect();
        let annotations = get(document, &metadata).and_then(Value::as_object);
        for key in annotations
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
            .filter(|key| keys::is_ours(key))
        {
            let mut path = metadata.clone();
            path.push(Step::Key(key.clone()));
            found.push((path, format!("{title}: annotation `{key}` does nothing here: move it to the annotations of the Pod template")));
        }
    }
    found
}

/// `Deployment shop`: what an object is called among people.
#[must_use]
pub fn title(object: &Value) -> String {
    // What a file holds must not forge a line of ours.
    let kind = excerpt(
        object
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or("object"),
        63,
    );
    let name = |field: &str| {
        object
            .get("metadata")?
            .get(field)?
            .as_str()
            .map(|name| excerpt(name, 253))
    };
    match name("name").or_else(|| name("generateName")) {
        Some(name) => format!("{kind} {name}"),
        None => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let pods =
            json!({"apiVersion": "v1", "kind": "PodList", "items": [{"spec": {"containers": []}}]});
        assert_eq!(templates(&pods).len(), 1);
        let foreign =
            json!({"apiVersion": "example.com/v1", "kind": "Job", "spec": {"template": {}}});
        assert_eq!(templates(&foreign), []);
    }
}
