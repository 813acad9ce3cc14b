//! TLS: which clients get in, and what they are shown.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore, SupportedProtocolVersion,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::support::server::{
    LastWords, Server, answer, asking, client, connect, connect_as, eventually, put, request, trust,
};

/// One review over a connection of `config`'s own; the status, or why there was no answer.
fn attempt(server: &Server, config: ClientConfig) -> Result<u16, rustls::Error> {
    let talk = || {
        let mut connection = connect(server.webhook, config)?;
        // To whoever is refused by now, the alert says why, not the write.
        let _ = connection.write_all(&request("/mutate/annotated", &asking("u")));
        answer(&mut LastWords(&mut connection))
    };
    talk().map(|answer| answer.status).map_err(|error| {
        error
            .downcast::<rustls::Error>()
            .expect("an error of TLS, not of TCP")
    })
}

fn versions(server: &Server, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("a version that is compiled in")
        .with_root_certificates(server.trust())
        .with_no_client_auth()
}

#[test]
fn tls_1_2_and_1_3_are_spoken() {
    let server = Server::start(&[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = versions(&server, &[version]);
        let connection = connect(server.webhook, config.clone()).expect("a connection");
        assert_eq!(connection.conn.protocol_version(), Some(version.version));
        // Without ALPN, as these clients have none.
        assert_eq!(connection.conn.alpn_protocol(), None);
        assert_eq!(attempt(&server, config), Ok(200));
    }
    let connection = server.connect();
    assert_eq!(connection.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
}

/// A `ClientHello` of TLS 1.1 in its record (RFC 4346 §7.4.1.2): version, random, no session, two suites, no compression.
fn hello(extensions: &[u8]) -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x13, 0xc0, 0x09, 1, 0]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).expect("short");
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[test]
fn older_versions_are_answered_with_an_alert() {
    let server = Server::start(&[]);
    // Fatal `handshake_failure` to what cannot sign as we do, fatal `protocol_version` to what could and is too old.
    let signature_algorithms = &[0, 8, 0, 13, 0, 4, 0, 2, 4, 3][..];
    for (extensions, alert) in [(&[][..], 40), (signature_algorithms, 70)] {
        let mut stream = TcpStream::connect(server.webhook).expect("a connection");
        stream.write_all(&hello(extensions)).expect("it goes");
        let mut said = [0; 7];
        stream.read_exact(&mut said).expect("an alert");
        assert_eq!((said[0], &said[3..]), (21, &[0, 2, 2, alert][..]));
    }
    server.assert_rejected("handshake", 2);
    server.assert_serving();
}

#[test]
fn http_2_is_not_spoken() {
    let server = Server::start(&[]);
    let mut config = client(server.trust());
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert_eq!(
        attempt(&server, config),
        Err(rustls::Error::AlertReceived(
            AlertDescription::NoApplicationProtocol
        ))
    );
    let mut config = client(server.trust());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    assert_eq!(attempt(&server, config), Ok(200));
    server.assert_rejected("handshake", 1);
}

#[test]
fn plain_http_gets_no_http_and_does_no_harm() {
    let server = Server::start(&[]);
    let mut stream = TcpStream::connect(server.webhook).expect("a connection");
    stream
        .write_all(&request("/mutate/annotated", &asking("u")))
        .expect("it goes");
    let mut said = Vec::new();
    // It ends by itself, cleanly or not.
    let _ = stream.read_to_end(&mut said);
    let text = String::from_utf8_lossy(&said);
    assert!(!text.contains("HTTP"), "{text}");
    server.assert_rejected("handshake", 1);
    server.assert_serving();
}

#[test]
fn a_client_that_does_not_trust_the_ca_goes_away() {
    let server = Server::start(&[]);
    let other = Authority::new("somebody else");
    assert_eq!(
        attempt(&server, client(trust(other.pem.as_bytes()))),
        Err(CertificateError::UnknownIssuer.into())
    );
    server.assert_rejected("handshake", 1);
    server.assert_serving();
}

#[test]
fn the_certificate_is_for_a_server_on_this_machine_and_for_nothing_else() {
    let server = Server::start(&[]);
    let connection = server.connect();
    let chain = connection
        .conn
        .peer_certificates()
        .expect("the server shows one");
    let (_, leaf) = X509Certificate::from_der(&chain[0]).expect("DER");
    let names = leaf
        .subject_alternative_name()
        .expect("readable")
        .expect("there")
        .value;
    let mut ipv6 = [0; 16];
    ipv6[15] = 1;
    assert_eq!(
        names.general_names,
        [
            GeneralName::DNSName("localhost"),
            GeneralName::IPAddress(&[127, 0, 0, 1]),
            GeneralName::IPAddress(&ipv6)
        ]
    );
    let usage = leaf
        .extended_key_usage()
        .expect("readable")
        .expect("there")
        .value;
    assert!(usage.server_auth);
    assert!(!usage.any && !usage.client_auth && !usage.code_signing && usage.other.is_empty());
    assert!(!leaf.is_ca());
}

#[test]
fn every_address_means_ipv4_and_ipv6() {
    let server = Server::start_at("[::]:0", &[]);
    let port = server.webhook.port();
    let mut places = vec![("127.0.0.1", SocketAddr::from((Ipv4Addr::LOCALHOST, port)))];
    // Where there is no IPv6, IPv4 alone is meant.
    if server.webhook.is_ipv6() {
        places.push(("::1", SocketAddr::from((Ipv6Addr::LOCALHOST, port))));
    }
    for (name, address) in places {
        let mut connection =
            connect_as(name, address, client(server.trust())).expect("a connection");
        connection
            .write_all(&request("/mutate/annotated", &asking("u")))
            .expect("the request goes");
        assert_eq!(answer(&mut connection).expect("an answer").status, 200);
    }
}

#[test]
fn only_clients_with_a_certificate_of_the_ca_and_a_known_name_get_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("clients.pem");
    let (ours, theirs) = (Authority::new("clients"), Authority::new("others"));
    let server = guarded(&path, &ours);
    let refused = |alert| Err(rustls::Error::AlertReceived(alert));
    let shown = |authority: &Authority, common: &str, dns: &[&str]| {
        attempt(&server, authority.client(server.trust(), common, dns))
    };
    assert_eq!(
        attempt(&server, client(server.trust())),
        refused(AlertDescription::CertificateRequired)
    );
    assert_eq!(
        shown(&theirs, "kube-apiserver", &[]),
        refused(AlertDescription::UnknownCA)
    );
    for (common, dns) in [
        ("kubelet", &["kubelet.example"][..]),
        ("", &[]),
        ("kube-apiserver.example", &["xkube-apiserver"]),
        ("KUBE-APISERVER", &["*"]),
    ] {
        assert_eq!(
            shown(&ours, common, dns),
            refused(AlertDescription::AccessDenied),
            "{common} {dns:?}"
        );
    }
    assert_eq!(shown(&ours, "kube-apiserver", &[]), Ok(200));
    assert_eq!(shown(&ours, "x", &["y", "kube-apiserver"]), Ok(200));
    assert_eq!(shown(&ours, "second", &[]), Ok(200));
    server.assert_rejected("handshake", 6);
}

#[test]
fn a_new_client_ca_is_honoured_without_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("clients.pem");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = guarded(&path, &old);
    let shown = |authority: &Authority| {
        attempt(
            &server,
            authority.client(server.trust(), "kube-apiserver", &[]),
        )
    };
    let refused = Err(rustls::Error::AlertReceived(AlertDescription::UnknownCA));
    assert_eq!((shown(&old), shown(&new)), (Ok(200), refused.clone()));
    // Both at once, as somebody who rotates has it.
    put(&path, &format!("{}{}", old.pem, new.pem));
    eventually("the new CA is honoured", || shown(&new) == Ok(200));
    assert_eq!(shown(&old), Ok(200));
    put(&path, &new.pem);
    eventually("the old CA is forgotten", || shown(&old) == refused);
    assert_eq!(shown(&new), Ok(200));
    // What cannot be read changes nothing.
    put(&path, &new.pem[30..]);
    server.line(&format!(
        "the certificate in use is kept: {}: expected a certificate in PEM, found none",
        path.display()
    ));
    assert_eq!((shown(&new), shown(&old)), (Ok(200), refused));
}

/// A server that lets `authority`'s clients in, under two names.
fn guarded(path: &Path, authority: &Authority) -> Server {
    put(path, &authority.pem);
    Server::start(&[
        "--client-ca",
        path.to_str().expect("UTF-8"),
        "--client-name",
        "kube-apiserver",
        "--client-name",
        "second",
    ])
}

/// A CA of the test's own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A client that shows a certificate with these names.
    fn client(&self, roots: RootCertStore, common: &str, dns: &[&str]) -> ClientConfig {
        let mut params = named(common, dns);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a pair")
    }
}

fn named(common: &str, dns: &[&str]) -> CertificateParams {
    let dns: Vec<String> = dns.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(dns).expect("DNS names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params
}
