//! HTTP and HTTPS: a GET, as the kubelet would do it, to anywhere.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use http_body_util::BodyExt;
use hyper::{Request, Uri};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::config::HttpSpec;
use crate::outgoing;

/// Of a body that is searched.
const BODY: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct HttpCheck {
    client: outgoing::Either,
    url: Uri,
    spec: HttpSpec,
}

impl HttpCheck {
    pub(super) fn new(spec: HttpSpec, timeout: Duration) -> anyhow::Result<Self> {
        let url: Uri = spec
            .url
            .parse()
            .with_context(|| format!("`url` is `{}`", spec.url))?;
        ensure!(
            matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some(),
            "`url` is `{url}`: expected http://host:port/path or https://"
        );
        let mut roots = rustls::RootCertStore::empty();
        match &spec.ca_file {
            Some(file) => {
                let read = || format!("cannot read `{}`", file.display());
                for certificate in CertificateDer::pem_file_iter(file).with_context(read)? {
                    roots
                        .add(certificate.with_context(read)?)
                        .with_context(read)?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            client: outgoing::tls_client(timeout, tls),
            url,
            spec,
        })
    }

    pub(super) async fn ask(&self) -> anyhow::Result<()> {
        let HttpSpec {
            status: expected,
            contains,
            ..
        } = &self.spec;
        // A connection of its own: whether new ones are accepted is a part of the question.
        let request = Request::get(&self.url)
            .header("connection", "close")
            .header("user-agent", "outrigger-health")
            .body(outgoing::empty())?;
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => {
                return Err(super::causes(&error)).context(if error.is_connect() {
                    "cannot connect"
                } else {
                    "no answer"
                });
            }
        };
        let status = answer.status().as_u16();
        match expected {
            Some(expected) => ensure!(status == *expected, "status {status}, expected {expected}"),
            None => ensure!(
                (200..400).contains(&status),
                "status {status}, expected 200 to 399"
            ),
        }
        if let Some(text) = contains {
            let (mut body, mut read) = (answer.into_body(), Vec::new());
            while read.len() < BODY
                && let Some(frame) = body.frame().await
            {
                let frame = frame.context("the body breaks off")?;
                read.extend(frame.into_data().unwrap_or_default());
            }
            ensure!(
                String::from_utf8_lossy(&read).contains(text),
                "the body does not contain `{text}`"
            );
        }
        Ok(())
    }
}
