//! gRPC: the server's own word, by grpc.health.v1.

use anyhow::{Context, bail};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::config::GrpcSpec;

#[derive(Debug)]
pub(super) struct GrpcCheck {
    endpoint: Endpoint,
    service: String,
}

impl GrpcCheck {
    pub(super) fn new(spec: GrpcSpec) -> anyhow::Result<Self> {
        super::tcp::split(&spec.address)?;
        let endpoint = Endpoint::from_shared(format!("http://{}", spec.address))
            .with_context(|| format!("`address` is `{}`: expected host:port", spec.address))?;
        Ok(Self {
            endpoint,
            service: spec.service,
        })
    }

    pub(super) async fn ask(&self) -> anyhow::Result<()> {
        let channel = match self.endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => return Err(super::causes(&error)).context("cannot connect"),
        };
        let request = HealthCheckRequest {
            service: self.service.clone(),
        };
        let status = match HealthClient::new(channel).check(request).await {
            Ok(answer) => answer.into_inner().status(),
            Err(status) => bail!("{:?}: {}", status.code(), status.message()),
        };
        match status {
            ServingStatus::Serving => Ok(()),
            status => bail!("it says {}", status.as_str_name()),
        }
    }
}
