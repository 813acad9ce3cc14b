//! Certificates: exchanged under load, kept while the next pair is broken, and the same CA after a restart.

use std::path::Path;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::support::load::Load;
use crate::support::mount::Mount;
use crate::support::outrigger;
use crate::support::server::{Server, asking, client, connect, eventually, put, trust};

const BROKEN: &str = "outrigger_reloads_total{what=\"certificate\",result=\"broken\"}";
const GOOD: &str = "outrigger_reloads_total{what=\"certificate\",result=\"good\"}";
const LEAF_ENDS: &str = "outrigger_certificate_not_after_timestamp_seconds{role=\"leaf\"}";
const CA_ENDS: &str = "outrigger_certificate_not_after_timestamp_seconds{role=\"ca\"}";
/// Between the requests of a client.
const PACE: Duration = Duration::from_millis(5);

/// A directory in which `outrigger certs` makes pairs, all of one CA.
struct Authority(tempfile::TempDir);

/// A certificate and its key, in PEM.
#[derive(Debug, PartialEq)]
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// The next pair.
    fn pair(&self) -> Pair {
        let directory = self.0.path();
        let run = outrigger(&["certs", "--directory", &directory.display().to_string()]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let text = |name: &str| read(&directory.join(name));
        Pair {
            certificate: text("tls.crt"),
            key: text("tls.key"),
        }
    }

    fn roots(&self) -> RootCertStore {
        trust(read(&self.0.path().join("ca.pem")).as_bytes())
    }
}

impl Pair {
    fn files(&self) -> [(&str, &str); 2] {
        [("tls.crt", &self.certificate), ("tls.key", &self.key)]
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM")
    }

    /// When it ends, in seconds since 1970.
    fn until(&self) -> f64 {
        let der = self.der();
        let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
        let until = certificate.validity().not_after.timestamp();
        f64::from(u32::try_from(until).expect("before 2106"))
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("the file is there")
}

/// A server with the pair of this volume.
fn serve(mount: &Mount, arguments: &[&str]) -> Server {
    let (certificate, key) = (mount.file("tls.crt"), mount.file("tls.key"));
    let pair = ["--tls", "files", "--tls-cert", &certificate, "--tls-key"];
    Server::start(&[&pair[..], &[key.as_str()], arguments].concat())
}

/// The certificate that a new connection gets to see.
fn shown(server: &Server, roots: &RootCertStore) -> CertificateDer<'static> {
    let connection = connect(server.webhook, client(roots.clone())).expect("a TLS connection");
    let chain = connection.conn.peer_certificates().expect("a chain");
    chain[0].clone().into_owned()
}

#[track_caller]
fn eventually_shown(server: &Server, roots: &RootCertStore, pair: &Pair) {
    eventually("the new certificate is shown", || {
        shown(server, roots) == pair.der()
    });
}

fn readyz(server: &Server) -> String {
    server.get("/readyz?verbose").text()
}

/// The report of a server at which nothing is amiss.
const ALL_WELL: &str =
    "[+]certificate ok\n[+]configuration ok\n[+]shutdown ok\nreadyz check passed\n";

#[test]
fn a_pair_is_swapped_under_load_as_a_kubelet_does_it() {
    let authority = Authority::new();
    let (roots, mut pair) = (authority.roots_of_first_pair(), authority.pair());
    let mut mount = Mount::new(&pair.files());
    let server = serve(&mount, &[]);
    let load = Load::start(server.webhook, &roots, 3, PACE);
    for round in 1..=3_u32 {
        let before = load.answered();
        eventually("the metric tells when the certificate ends", || {
            (server.metric(LEAF_ENDS) - pair.until()).abs() < 1.0
        });
        let next = authority.pair();
        // The rounds are longer than a second, which is what certificates count in.
        assert!(round == 1 || next.until() > pair.until());
        pair = next;
        mount.swap(&pair.files());
        eventually_shown(&server, &roots, &pair);
        eventually("the exchange is counted", || {
            server.metric(GOOD) >= f64::from(round)
        });
        eventually("the load goes on", || load.answered() > before + 20);
    }
    load.finish();
    assert_eq!(readyz(&server), ALL_WELL);
    assert_eq!(server.get("/ca.pem").status, 404);
}

impl Authority {
    /// The CA is made with the first pair.
    fn roots_of_first_pair(&self) -> RootCertStore {
        self.pair();
        self.roots()
    }
}

#[test]
fn a_broken_pair_changes_nothing_until_a_good_one_comes() {
    let authority = Authority::new();
    let (roots, old) = (authority.roots_of_first_pair(), authority.pair());
    let mut mount = Mount::new(&old.files());
    let server = serve(&mount, &[]);
    let load = Load::start(server.webhook, &roots, 1, PACE);
    let new = authority.pair();
    let (certificate, key) = (mount.file("tls.crt"), mount.file("tls.key"));
    for (broken, complaint) in [
        (
            new.certificate.as_str(),
            format!("{certificate} and {key}: keys may not be consistent: KeyMismatch"),
        ),
        (
            "garbage",
            format!("{certificate}: expected a certificate in PEM, found none"),
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA",
            format!("{certificate}: not PEM: "),
        ),
        (
            "",
            format!("{certificate}: expected a certificate in PEM, found none"),
        ),
    ] {
        mount.swap(&[("tls.crt", broken), ("tls.key", &old.key)]);
        let note = format!("[+]certificate ok\n   the certificate in use is kept: {complaint}");
        eventually(&note, || readyz(&server).starts_with(&note));
        let (_, rest) = note.split_once("   ").expect("the second line");
        let logged = |line: &str| line.contains("\"level\":\"WARN\"") && line.contains(rest);
        assert!(server.log().lines().any(logged), "{}", server.log());
        assert!(server.metric(BROKEN) >= 1.0);
        assert_eq!(server.get("/readyz").text(), "ok\n");
        assert_eq!(shown(&server, &roots), old.der());
    }
    mount.swap(&new.files());
    eventually_shown(&server, &roots, &new);
    eventually("the note goes", || readyz(&server) == ALL_WELL);
    server.line("certificate exchanged");
    load.finish();
}

/// The kubelet may be asked to take a Secret away and bring it back.
#[test]
fn files_that_are_gone_for_a_while_are_still_in_use() {
    let authority = Authority::new();
    let (roots, pair) = (authority.roots_of_first_pair(), authority.pair());
    let mut mount = Mount::new(&pair.files());
    let server = serve(&mount, &[]);
    mount.swap(&[("tls.crt", &pair.certificate)]);
    let note = format!(
        "   the certificate in use is kept: {}: No such file or directory (os error 2)\n",
        mount.file("tls.key")
    );
    eventually(&note, || readyz(&server).contains(&note));
    assert_eq!(shown(&server, &roots), pair.der());
    mount.swap(&pair.files());
    eventually("the note goes", || readyz(&server) == ALL_WELL);
    assert_eq!(shown(&server, &roots), pair.der());
}

/// Of two things that are read again, the one that is broken must not cost the other's change.
#[test]
fn a_new_pair_comes_into_use_once_the_client_ca_is_repaired() {
    let authority = Authority::new();
    let (roots, old) = (authority.roots_of_first_pair(), authority.pair());
    let mut mount = Mount::new(&old.files());
    let ca = read(&authority.0.path().join("ca.pem"));
    let clients = tempfile::NamedTempFile::new().expect("a file");
    put(clients.path(), &ca);
    let file = clients.path().display().to_string();
    let server = serve(&mount, &["--client-ca", &file, "--client-name", "a"]);
    put(clients.path(), "garbage");
    let new = authority.pair();
    mount.swap(&new.files());
    let note = format!(
        "the certificate in use is kept: {file}: expected a certificate in PEM, found none"
    );
    eventually(&note, || readyz(&server).contains(&note));
    put(clients.path(), &ca);
    eventually("the note goes", || readyz(&server) == ALL_WELL);
    eventually_shown(&server, &roots, &new);
}

#[test]
fn a_state_directory_keeps_the_ca_over_a_restart() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("deep/er");
    let path = place.display().to_string();
    let server = Server::start(&["--state-dir", &path]);
    let ca = read(&place.join("ca.pem"));
    let answer = server.get("/ca.pem");
    assert_eq!(answer.text(), ca);
    assert!(answer.head.contains("content-type: application/x-pem-file"));
    let mode = |name: &str| {
        let metadata = std::fs::metadata(place.join(name)).expect("the file is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("ca-key.pem"), mode("ca.pem")), (0o600, 0o644));
    let first = shown(&server, &trust(ca.as_bytes()));
    drop(server);
    let server = Server::start(&["--state-dir", &path]);
    assert_eq!(server.get("/ca.pem").text(), ca);
    assert_ne!(shown(&server, &trust(ca.as_bytes())), first);
    assert_eq!(server.post("/mutate/annotated", &asking("u")).status, 200);
    eventually("the metrics tell when both end", || {
        let (leaf, ca) = (server.metric(LEAF_ENDS), server.metric(CA_ENDS));
        0.0 < leaf && leaf < ca
    });
}

#[test]
fn without_a_state_directory_every_start_has_a_ca_of_its_own() {
    let [one, other] = [(), ()].map(|()| Server::start(&[]).get("/ca.pem").text());
    assert!(one.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_ne!(one, other);
}

/// A CA without its key, or with another's, is not replaced behind anybody's back.
#[test]
fn half_a_ca_keeps_a_server_from_starting() {
    let authority = Authority::new();
    authority.pair();
    let directory = authority.0.path();
    std::fs::remove_file(directory.join("ca-key.pem")).expect("it was there");
    let path = directory.display();
    let run = outrigger(&["serve", "--state-dir", &path.to_string()]);
    assert_eq!(
        run.stderr,
        format!(
            "error: {path}/ca.pem and {path}/ca-key.pem: {path}/ca-key.pem: No such file or directory (os error 2); remove both to get a new CA\n"
        )
    );
    assert_eq!(run.code, 2);
}
