//! The HTTP client: HTTP/1.1 over pooled connections, no redirects, no proxies.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Bodies are sent whole.
pub(crate) type Body = Full<Bytes>;

/// Over plain TCP.
pub(crate) type Plain = Client<HttpConnector, Body>;

/// Over TCP or TLS.
pub(crate) type Either = Client<HttpsConnector<HttpConnector>, Body>;

pub(crate) fn empty() -> Body {
    Body::new(Bytes::new())
}

/// A client for `http://`.
pub(crate) fn client(connect_timeout: Duration) -> Plain {
    builder().build(connector(connect_timeout))
}

/// A client for `http://` and `https://`.
pub(crate) fn tls_client(connect_timeout: Duration, tls: rustls::ClientConfig) -> Either {
    let mut connector = connector(connect_timeout);
    connector.enforce_http(false);
    builder().build(
        HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector),
    )
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    // Shorter than servers' own limits, so that few requests meet a connection that is just being closed.
    builder
        .pool_idle_timeout(Duration::from_secs(4))
        .pool_timer(TokioTimer::new());
    builder
}

fn connector(connect_timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(connect_timeout));
    connector.set_nodelay(true);
    connector
}
