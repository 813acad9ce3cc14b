//! AdmissionReview v1 on the wire (`k8s.io/api/admission/v1/types.go`): what is read of a request, what is written of a response.
//!
//! The object stays raw: it is for `inject` to read, and most of it is for nobody.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::kubernetes::mapping::Mapping;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// `AdmissionReview.request`, as far as we read it; the object in the form `O`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[serde(bound(deserialize = "O: Deserialize<'de>"))]
pub(crate) struct Request<'a, O> {
    #[serde(borrow, default)]
    pub(crate) uid: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) kind: GroupVersionKind<'a>,
    #[serde(borrow, default)]
    pub(crate) resource: GroupVersionResource<'a>,
    #[serde(borrow, default)]
    pub(crate) sub_resource: Cow<'a, str>,
    /// Empty for `generateName`.
    #[serde(borrow, default)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) operation: Cow<'a, str>,
    pub(crate) dry_run: Option<bool>,
    /// `None`: absent or null, as for DELETE.
    pub(crate) object: Option<O>,
}

/// The way to the object in a review.
pub(crate) const OBJECT: &[&str] = &["request", "object"];

/// `GroupVersionKind`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
pub(crate) struct GroupVersionKind<'a> {
    #[serde(borrow)]
    pub(crate) group: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) version: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) kind: Cow<'a, str>,
}

/// `GroupVersionResource`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a mapping")]
pub(crate) struct GroupVersionResource<'a> {
    #[serde(borrow)]
    pub(crate) group: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) version: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) resource: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[serde(bound(deserialize = "O: Deserialize<'de>"))]
struct Review<'a, O> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    request: Option<Request<'a, O>>,
}

/// The body is no AdmissionReview that could be allowed: answer 4xx, with the uid if there is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) uid: Option<String>,
    pub(crate) sentence: String,
}

impl<'a, O: Deserialize<'a>> Request<'a, O> {
    /// Reads a review whose object has the form `O`.
    pub(crate) fn read(text: &'a str) -> Result<Self, Unreadable> {
        let Mapping(review): Mapping<Review<'a, O>> =
            serde_json::from_str(text).map_err(|error| Unreadable {
                uid: uid(text),
                sentence: format!("the body is not an AdmissionReview: {error}"),
            })?;
        let Review {
            api_version,
            kind,
            request,
        } = review;
        let refuse = |sentence: String| Unreadable {
            uid: uid(text),
            sentence,
        };
        if api_version != API_VERSION || kind != KIND {
            return Err(refuse(format!(
                "expected apiVersion `{API_VERSION}` and kind `{KIND}`, found `{}` and `{}`",
                crate::text::excerpt(&api_version, 60),
                crate::text::excerpt(&kind, 60)
            )));
        }
        let request = request.ok_or_else(|| refuse("the review has no `request`".to_owned()))?;
        if request.uid.is_empty() {
            return Err(refuse("the review has no `request.uid`".to_owned()));
        }
        Ok(request)
    }

    /// True for the creation of a Pod itself, which is all that we change.
    pub(crate) fn creates_a_pod(&self) -> bool {
        let Self {
            kind,
            resource,
            sub_resource,
            operation,
            object,
            ..
        } = self;
        operation == "CREATE"
            && (&*kind.group, &*kind.version, &*kind.kind) == ("", "v1", "Pod")
            && (&*resource.group, &*resource.version, &*resource.resource) == ("", "v1", "pods")
            && sub_resource.is_empty()
            && object.is_some()
    }
}

/// The uid of a review that has no more than that; nothing else is looked at.
#[cold]
fn uid(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Outer {
        request: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        uid: String,
    }
    let Outer {
        request: Inner { uid },
    } = serde_json::from_str(text).ok()?;
    (!uid.is_empty()).then_some(uid)
}

/// `AdmissionReview.response`. `patch` and `patchType` are both there or both absent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response<'a> {
    pub(crate) uid: &'a str,
    pub(crate) allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) audit_annotations: BTreeMap<&'static str, String>,
}

/// `metav1.Status`, as far as the API server reads it (`plugin/webhook/errors/statuserror.go`).
#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl<'a> Response<'a> {
    /// Lets the object through as it is.
    pub(crate) fn allowed(uid: &'a str) -> Self {
        Self {
            uid,
            allowed: true,
            ..Self::default()
        }
    }

    /// Lets the object through with a patch: the JSON text of an array of operations, not empty.
    pub(crate) fn patched(uid: &'a str, patch: &[u8]) -> Self {
        Self {
            patch: Some(STANDARD.encode(patch)),
            patch_type: Some("JSONPatch"),
            ..Self::allowed(uid)
        }
    }

    /// Refuses the object with a sentence that `kubectl` shows.
    pub(crate) fn denied(uid: &'a str, message: String) -> Self {
        Self {
            uid,
            status: Some(Status {
                code: 400,
                reason: "BadRequest",
                message,
            }),
            ..Self::default()
        }
    }

    /// The whole review in JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Review<'a> {
            api_version: &'static str,
            kind: &'static str,
            response: &'a Response<'a>,
        }
        let review = Review {
            api_version: API_VERSION,
            kind: KIND,
            response: self,
        };
        // Strings, numbers and mappings with string keys always serialize.
        serde_json::to_vec(&review).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    #[test]
    fn the_uid_is_found_in_whatever_is_json() {
        let unreadable = |body: &str| Request::<&RawValue>::read(body).unwrap_err();
        for body in [
            r#"{"request":{"uid":"u"}}"#,
            r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"u"}}"#,
            r#"{"apiVersion":7,"request":{"uid":"u","object":[]}}"#,
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":5}}"#,
        ] {
            assert_eq!(unreadable(body).uid.as_deref(), Some("u"), "{body}");
        }
        for body in [
            "",
            "{",
            "null",
            "[]",
            r#"{"request":{}}"#,
            r#"{"request":{"uid":""}}"#,
            r#"{"request":{"uid":7}}"#,
        ] {
            assert_eq!(unreadable(body).uid, None, "{body}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let sentence = |body: &str| Request::<&RawValue>::read(body).unwrap_err().sentence;
        assert_eq!(
            sentence(r#"{"apiVersion":"v1","kind":"Pod"}"#),
            "expected apiVersion `admission.k8s.io/v1` and kind `AdmissionReview`, found `v1` and `Pod`"
        );
        assert_eq!(
            sentence(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#),
            "the review has no `request`"
        );
        assert_eq!(
            sentence(
                r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}"#
            ),
            "the review has no `request.uid`"
        );
    }

    #[test]
    fn an_answer_has_patch_and_type_or_neither() {
        let text = |response: Response<'_>| String::from_utf8(response.to_json()).unwrap();
        assert_eq!(
            text(Response::allowed("u")),
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u","allowed":true}}"#
        );
        assert_eq!(
            text(Response::patched("u", b"[1]")),
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u","allowed":true,"patch":"WzFd","patchType":"JSONPatch"}}"#
        );
        assert_eq!(
            text(Response::denied("u", "no".to_owned())),
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u","allowed":false,"status":{"code":400,"reason":"BadRequest","message":"no"}}}"#
        );
    }
}
