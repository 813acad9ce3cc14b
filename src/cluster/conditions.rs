//! Tells each Pattern and `PatternBinding` what became of it: a `Ready` condition, by server-side apply to its status.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::sleep;

use super::objects::Objects;
use super::report::Report;
use super::{in_time, resource};
use crate::keys;

/// What could not be written is tried again after this.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes reports as they come, for ever.
pub(crate) async fn keep(client: Client, objects: Arc<Objects>) {
    loop {
        objects.reported.notified().await;
        for report in objects.take_reports() {
            let api = Api::<DynamicObject>::namespaced_with(
                client.clone(),
                &report.namespace,
                &resource(report.kind.name()),
            );
            let status = Patch::Apply(status(&report, SystemTime::now()));
            let params = PatchParams::apply(keys::FIELD_MANAGER).force();
            match in_time(api.patch_status(&report.name, &params, &status)).await {
                Ok(_) => {}
                Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => {
                    // Gone, or another object by now: its watch brings a new report.
                }
                Err(error) => {
                    let why = super::sentence(&error);
                    tracing::warn!(
                        kind = report.kind.name(),
                        namespace = report.namespace,
                        name = report.name,
                        "a condition could not be written: {why}"
                    );
                    objects.give_back(report);
                    sleep(PAUSE).await;
                    objects.reported.notify_one();
                }
            }
        }
    }
}

fn status(report: &Report, now: SystemTime) -> Value {
    let Report {
        kind,
        namespace,
        name,
        generation,
        finding,
        since,
    } = report;
    let now = OffsetDateTime::from(now)
        .replace_nanosecond(0)
        .ok()
        .and_then(|now| now.format(&Rfc3339).ok());
    json!({
        "apiVersion": keys::API_VERSION,
        "kind": kind.name(),
        "metadata": {"namespace": namespace, "name": name},
        "status": {
            "observedGeneration": generation,
            "conditions": [{
                "type": "Ready",
                "status": finding.status(),
                "reason": finding.reason,
                "message": finding.message,
                "observedGeneration": generation,
                "lastTransitionTime": since.clone().or(now),
            }],
        },
    })
}
