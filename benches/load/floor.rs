//! The floor: a webhook that decides nothing. TLS, HTTP and the body read whole, as the webhook does it, the uid found in it, and a
//! constant answer.
//!
//! Nobody who answers reviews on this stack does less: what the webhook takes beyond it is what injecting costs.

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::CertifiedKey;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::client::SERVER_NAME;

/// The JSON patch of every answer, as an AdmissionReview carries it.
static PATCH: OnceLock<String> = OnceLock::new();

/// A JSON patch of 1 KiB.
fn filling() -> String {
    let head = r#"[{"op":"add","path":"/metadata/annotations/floor","value":""#;
    let tail = r#""}]"#;
    let filling = "x".repeat(1024 - head.len() - tail.len());
    format!("{head}{filling}{tail}")
}

/// The review as far as the floor reads it: serde checks and skips the other fields.
#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: Asked<'a>,
}

#[derive(Deserialize)]
struct Asked<'a> {
    uid: &'a str,
}

/// Serves on a port of the system's choice until it is killed; says its address on a line of stdout, then its certificate.
pub(crate) fn serve(patch: Option<String>) -> anyhow::Result<()> {
    PATCH.get_or_init(|| BASE64_STANDARD.encode(patch.unwrap_or_else(filling)));
    let certified = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
    let acceptor = TlsAcceptor::from(Arc::new(tls(&certified)?));
    // The default number of workers, as the webhook has it: one for each core that it may use.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut stdout = std::io::stdout().lock();
        write!(
            stdout,
            "{}\n{}",
            listener.local_addr()?,
            certified.cert.pem()
        )?;
        stdout.flush()?;
        drop(stdout);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(connection(stream, acceptor.clone()));
        }
    })
}

fn tls(certified: &CertifiedKey<rcgen::KeyPair>) -> anyhow::Result<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Whatever goes wrong ends the connection; the client notices and ends the run.
async fn connection(stream: TcpStream, acceptor: TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    if let Ok(stream) = acceptor.accept(stream).await {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer))
            .await;
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    let body = request.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes);
    match body.as_deref().map(serde_json::from_slice::<Review>) {
        Ok(Ok(review)) => {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            *response.body_mut() = Full::from(allowed(review.request.uid));
        }
        _ => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

fn allowed(uid: &str) -> String {
    let patch = PATCH.get().map(String::as_str).unwrap_or_default();
    format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{uid}","allowed":true,"patchType":"JSONPatch","patch":"{patch}"}}}}"#
    )
}
