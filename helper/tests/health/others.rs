//! HTTP, TCP, gRPC and files.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;

use super::{Health, mute};
use crate::support::authority::Authority;
use crate::support::{free_port, until};

const LATE: &str = "no answer within 1s";

/// What the web server says to a path.
fn page(path: &str) -> String {
    let large = "x".repeat(2 << 20);
    let (status, body) = match path {
        "/large" => ("200 OK", format!("all is well{large}")),
        "/garbage" => return "SSH-2.0-OpenSSH_9.2p1\r\n".to_owned(),
        "/cut" => return "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nall is well".to_owned(),
        path => match path.trim_start_matches('/') {
            "200" => ("200 OK", "all is well\n".to_owned()),
            "204" => return "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "302" => ("302 Found\r\nlocation: /500", String::new()),
            "404" => ("404 Not Found", "all is well\n".to_owned()),
            _ => ("500 Internal Server Error", String::new()),
        },
    };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// The path of a request, from the first line of its head.
fn path(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A web server, as `host:port`.
async fn web() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).await.unwrap_or_default();
                let _ = stream
                    .write_all(page(&path(&head[..length])).as_bytes())
                    .await;
                let _ = stream.shutdown().await;
                // Closed with unread data, or too early, it would be reset.
                let _ = stream.read(&mut head).await;
            });
        }
    });
    address
}

fn http(name: &str, url: String, more: Value) -> Value {
    let mut spec = json!({"url": url});
    for (field, value) in more.as_object().expect("fields") {
        spec[field] = value.clone();
    }
    json!({"name": name, "timeout": "1s", "cache": "10ms", "http": spec})
}

/// Each check's reason, none where it is ok, beside what is expected.
fn compare(answer: &super::Answer, expected: &[(&str, &str)]) {
    let reasons = answer.reasons();
    for (name, expected) in expected {
        let reason = reasons.get(name).copied().unwrap_or_default();
        assert_eq!(reason, *expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_is_judged_by_status_and_body() {
    let server = web().await;
    let (mute, _listener) = mute();
    let at = |path: &str| format!("http://{server}{path}");
    let closed = format!("http://127.0.0.1:{}/", free_port());
    let health = Health::of(json!([
        http("200", at("/200"), json!({})),
        http("204", at("/204"), json!({})),
        http("302", at("/302"), json!({})),
        http("404", at("/404"), json!({})),
        http("500", at("/500"), json!({})),
        http("404 expected", at("/404"), json!({"status": 404})),
        http("200 not expected", at("/200"), json!({"status": 204})),
        http("text", at("/200"), json!({"contains": "is well"})),
        http("no text", at("/200"), json!({"contains": "is bad"})),
        http(
            "text of a large body",
            at("/large"),
            json!({"contains": "all is well"})
        ),
        http(
            "no text of a large body",
            at("/large"),
            json!({"contains": "is bad"})
        ),
        http("a cut body", at("/cut"), json!({"contains": "is bad"})),
        http("garbage", at("/garbage"), json!({})),
        http("refused", closed, json!({})),
        http("mute", format!("http://{mute}/"), json!({})),
        http(
            "tls at a plain port",
            format!("https://{server}/200"),
            json!({})
        ),
        http(
            "nowhere",
            "http://no-such-host.invalid/".to_owned(),
            json!({})
        ),
    ]))
    .await;
    let answer = health.ask().await;
    compare(
        &answer,
        &[
            ("200", ""),
            ("204", ""),
            ("302", ""),
            ("404", "status 404, expected 200 to 399"),
            ("500", "status 500, expected 200 to 399"),
            ("404 expected", ""),
            ("200 not expected", "status 200, expected 204"),
            ("text", ""),
            ("no text", "the body does not contain `is bad`"),
            ("text of a large body", ""),
            (
                "no text of a large body",
                "the body does not contain `is bad`",
            ),
            (
                "a cut body",
                "the body breaks off: error reading a body from connection: end of file before message length reached",
            ),
            ("garbage", "no answer: invalid HTTP version parsed"),
            (
                "refused",
                "cannot connect: tcp connect error: Connection refused (os error 111)",
            ),
            ("mute", LATE),
            (
                "tls at a plain port",
                "cannot connect: received corrupt message of type InvalidContentType",
            ),
            (
                "nowhere",
                "cannot connect: dns error: failed to lookup address information: Name or service not known",
            ),
        ],
    );
}

/// A web server with TLS, as `localhost:port`.
fn secure_web(authority: &Authority) -> String {
    let (certificate, key) = authority.issue("localhost");
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let config = config.clone();
            std::thread::spawn(move || {
                let mut tls = rustls::ServerConnection::new(config).expect("a connection");
                let mut stream = rustls::Stream::new(&mut tls, &mut stream);
                let mut head = [0; 4096];
                let Ok(length) = stream.read(&mut head) else {
                    return;
                };
                let _ = stream.write_all(page(&path(&head[..length])).as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
        }
    });
    format!("localhost:{port}")
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_verified() {
    let ours = Authority::new("ours");
    let theirs = Authority::new("theirs");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let our_file = place("ours.pem", ours.pem());
    let their_file = place("theirs.pem", theirs.pem());
    let server = secure_web(&ours);
    let by_address = server.replace("localhost", "127.0.0.1");
    let url = format!("https://{server}/200");
    let health = Health::of(json!([
        http(
            "ours",
            url.clone(),
            json!({"caFile": our_file, "contains": "well"})
        ),
        http("theirs", url.clone(), json!({"caFile": their_file})),
        http("public", url, json!({})),
        http(
            "another name",
            format!("https://{by_address}/200"),
            json!({"caFile": our_file})
        ),
        http(
            "plain at a tls port",
            format!("http://{server}/200"),
            json!({})
        ),
    ]))
    .await;
    compare(
        &health.ask().await,
        &[
            ("ours", ""),
            (
                "theirs",
                "cannot connect: invalid peer certificate: UnknownIssuer",
            ),
            (
                "public",
                "cannot connect: invalid peer certificate: UnknownIssuer",
            ),
            (
                "another name",
                "cannot connect: invalid peer certificate: certificate not valid for name \"127.0.0.1\"; certificate is only valid for DnsName(\"localhost\")",
            ),
            (
                "plain at a tls port",
                "no answer: invalid HTTP version parsed",
            ),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_port_is_open_closed_or_silent() {
    let open = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let open = (open.local_addr().expect("an address"), open);
    // With its queue full it says nothing at all to newcomers, as a host would that is not there.
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free port");
    let full = socket.listen(1).expect("it listens");
    let silent = full.local_addr().expect("an address");
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(silent)).await
    {
        queue.push(stream);
    }
    let check = |name: &str, address: String| json!({"name": name, "timeout": "1s", "cache": "10ms", "tcp": {"address": address}});
    let health = Health::of(json!([
        check("open", open.0.to_string()),
        check("by name", format!("localhost:{}", open.0.port())),
        check("closed", format!("127.0.0.1:{}", free_port())),
        check("silent", silent.to_string()),
        check("nowhere", "no-such-host.invalid:80".to_owned()),
    ]))
    .await;
    compare(
        &health.ask().await,
        &[
            ("open", ""),
            ("by name", ""),
            ("closed", "Connection refused (os error 111)"),
            ("silent", LATE),
            (
                "nowhere",
                "failed to lookup address information: Name or service not known",
            ),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_is_judged_by_its_own_word() {
    let (reporter, service) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let serving = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(serving);
    reporter
        .set_service_status("shop", ServingStatus::NotServing)
        .await;
    let (mute, _listener) = mute();
    let check = |name: &str, address: &str, service: &str| {
        let spec = json!({"address": address, "service": service});
        json!({"name": name, "timeout": "1s", "cache": "10ms", "grpc": spec})
    };
    let health = Health::of(json!([
        check("server", &address, ""),
        check("shop", &address, "shop"),
        check("unknown", &address, "other"),
        check("closed", &format!("127.0.0.1:{}", free_port()), ""),
        check("mute", &mute, ""),
        check("web", &web().await, ""),
        check("nowhere", "no-such-host.invalid:80", ""),
    ]))
    .await;
    let answer = health.ask().await;
    compare(
        &answer,
        &[
            ("server", ""),
            ("shop", "it says NOT_SERVING"),
            ("unknown", "NotFound: service not registered"),
            (
                "closed",
                "cannot connect: tcp connect error: Connection refused (os error 111)",
            ),
            ("mute", LATE),
            (
                "nowhere",
                "cannot connect: dns error: failed to lookup address information: Name or service not known",
            ),
        ],
    );
    // In which words depends on what of it comes first.
    assert!(answer.reasons().contains_key("web"), "{answer:?}");
    reporter
        .set_service_status("shop", ServingStatus::Serving)
        .await;
    until("the shop to be ok", async || {
        let answer = health.ask().await;
        (answer.body["checks"]["shop"]["ok"] == true).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_there_and_young_enough() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("beat");
    let shown = path.display().to_string();
    let young =
        json!({"name": "beat", "cache": "10ms", "file": {"path": path, "youngerThan": "1m"}});
    let health = Health::of(json!([young])).await;
    health
        .until_fails(&format!(
            "`{shown}`: No such file or directory (os error 2)"
        ))
        .await;
    let file = std::fs::File::create(&path).expect("a file");
    health.until_ok().await;
    let before = SystemTime::now() - Duration::from_mins(2);
    file.set_modified(before).expect("a time");
    let old = format!("`{shown}` was last changed 120 s ago, expected less than 60s");
    health.until_fails(&old).await;
    file.set_modified(SystemTime::now()).expect("a time");
    health.until_ok().await;
}
