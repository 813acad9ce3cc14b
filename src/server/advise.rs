//! Advice about workloads: what would become of their Pods, said when the workload is applied. Never a refusal.

use serde_json::Value;
use serde_json::value::RawValue;

use super::metrics::Outcome;
use super::review::{Request, Response};
use super::verdict::{Verdict, denial, shorten};
use crate::inject::{self, Context};
use crate::manifest;

/// Characters of a warning: a whole sentence, as it would stand in a denial (beyond 256 the API server may cut).
const MAX_ADVICE: usize = 256;

/// Warnings for an object with a Pod template; nothing for any other.
pub(super) fn advise<'a>(
    request: &'a Request<'_, &RawValue>,
    context: &Context<'_>,
) -> Verdict<'a> {
    let uid = &*request.uid;
    // What nests too deep for a parser gets no advice; the API server has already judged it.
    let Some(object) = request
        .object
        .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok())
    else {
        return Verdict::ignored(uid);
    };
    let mut warnings = Vec::new();
    let templates = manifest::templates(&object);
    for template in &templates {
        warnings.extend(
            manifest::misplaced(&object, template)
                .into_iter()
                .map(|(_, sentence)| sentence),
        );
        let pod = manifest::get(&object, &template.path()).unwrap_or(&Value::Null);
        match inject::inject(pod.to_string().as_bytes(), context) {
            Ok(outcome) => {
                warnings.extend(
                    denial(&outcome).map(|sentence| format!("its Pods will be denied: {sentence}")),
                );
                warnings.extend(outcome.warnings().map(str::to_owned));
            }
            Err(error) => warnings.push(format!("its Pods will be denied: {error}")),
        }
    }
    let mut response = Response::allowed(uid);
    response.warnings = shorten(warnings.iter().map(String::as_str), MAX_ADVICE);
    Verdict {
        outcome: if templates.is_empty() {
            Outcome::Ignored
        } else {
            Outcome::Unchanged
        },
        response,
        // The Pods will be counted when they come.
        decisions: Vec::new(),
        name: request.name.clone().into_owned(),
        owner: None,
        patch_bytes: 0,
    }
}
