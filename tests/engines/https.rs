//! `https`: a plain HTTP app behind TLS, seen with curl and openssl's certificates.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pod::{Files, Pod, Running, Secrets};
use crate::process::{Answer, curl, envoy, eventually, free_port, get};

/// An app that answers every request with the request's own head. Returns its port.
fn app() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || echo(&connection));
        }
    });
    port
}

fn echo(connection: &TcpStream) -> std::io::Result<()> {
    let lines = BufReader::new(connection.try_clone()?).lines();
    let head: Vec<_> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let body = head.join("\n").to_lowercase();
    let length = body.len();
    let mut connection = connection;
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// A certificate of its own authority, as the Secret's files; the file of that name under `directory` is what curl is to trust.
fn certificate(directory: &Path, name: &str) -> (PathBuf, Files) {
    let (crt, key) = (
        directory.join(format!("{name}.crt")),
        directory.join(format!("{name}.key")),
    );
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=DNS:shop.test",
            "-out",
        ])
        .arg(&crt)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "{output:?}");
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
    let files = [("tls.crt", read(&crt)), ("tls.key", read(&key))];
    let files = files.map(|(file, text)| (file.to_owned(), text)).into();
    (crt, files)
}

/// A running sidecar with an app behind it.
struct Sidecar {
    envoy: Running,
    port: u16,
    probe: u16,
    trusted: PathBuf,
    certificates: TempDir,
}

impl Sidecar {
    /// Starts it and waits, as the kubelet's startup probe does, for `/.outrigger/ready` over TLS.
    fn start(mut params: Value) -> Self {
        let certificates = tempfile::tempdir().expect("a temporary directory");
        let (trusted, files) = certificate(certificates.path(), "first");
        let port = free_port();
        params["port"] = json!(port);
        params["secretName"] = json!("shop-tls");
        let pod = Pod::inject_to_run(&[("sidecar.outrigger.dev/https", params)], app());
        let layout = pod.lay_out("https", &Secrets::of("shop-tls", files));
        let mut sidecar = Self {
            envoy: layout.start("envoy", &envoy()),
            port,
            probe: pod.given("https", "probe"),
            trusted,
            certificates,
        };
        let ready = sidecar.request(&sidecar.trusted, "/.outrigger/ready", &[]);
        sidecar
            .envoy
            .process
            .until("ready over TLS", || curl(&ready).ok());
        sidecar
    }

    fn get(&self, path: &str, arguments: &[&str]) -> Answer {
        self.get_trusting(&self.trusted, path, arguments)
    }

    fn get_trusting(&self, certificate: &Path, path: &str, arguments: &[&str]) -> Answer {
        curl(&self.request(certificate, path, arguments))
    }

    /// curl's arguments.
    fn request(&self, certificate: &Path, path: &str, arguments: &[&str]) -> Vec<String> {
        let mut all = vec![
            "--cacert".to_owned(),
            certificate.display().to_string(),
            "--resolve".to_owned(),
            format!("shop.test:{}:127.0.0.1", self.port),
            format!("https://shop.test:{}{path}", self.port),
        ];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        all
    }

    /// Speaks at most this version. Debian's openssl refuses old ones by itself, unless its security level is lowered; the refusal
    /// that counts is the server's.
    fn get_with_tls(&self, version: &str) -> Answer {
        let ciphers = "DEFAULT@SECLEVEL=0";
        self.get(
            "/",
            &["--tlsv1.0", "--tls-max", version, "--ciphers", ciphers],
        )
    }
}

#[test]
fn the_app_is_served_over_https() {
    let sidecar = Sidecar::start(json!({}));
    // A client's own claim about the scheme must not reach the app.
    for protocol in ["--http1.0", "--http1.1", "--http2"] {
        let answer = sidecar.get(
            "/cart?id=7",
            &[protocol, "--header", "X-Forwarded-Proto: http"],
        );
        let seen = answer.ok().expect(protocol);
        assert!(
            seen.starts_with("get /cart?id=7 http/1.1"),
            "{protocol}: {seen}"
        );
        let forwarded: Vec<_> = seen
            .lines()
            .filter(|line| line.starts_with("x-forwarded-proto:"))
            .collect();
        assert_eq!(
            forwarded,
            ["x-forwarded-proto: https"],
            "{protocol}: {seen}"
        );
        // Not 127.0.0.1: for a loopback client Envoy gives the machine's own address.
        assert!(seen.contains("\nx-forwarded-for: "), "{protocol}: {seen}");
    }
    let plain = get(sidecar.port, "/");
    assert_eq!(plain.status, 0, "plain HTTP on the TLS port: {plain:?}");
}

#[test]
fn the_probe_port_shows_only_what_it_must() {
    let sidecar = Sidecar::start(json!({}));
    assert_eq!(get(sidecar.probe, "/ready").status, 200);
    let metrics = get(sidecar.probe, "/stats/prometheus")
        .ok()
        .expect("metrics");
    assert!(
        metrics.contains("envoy_http_downstream_rq_total"),
        "{metrics}"
    );
    for path in ["/config_dump", "/quitquitquit", "/certs", "/stats", "/"] {
        assert_eq!(get(sidecar.probe, path).status, 404, "{path}");
    }
    // The path is answered by the helper, not by the app behind it.
    let ready = sidecar.get("/.outrigger/ready", &[]).ok().expect("ready");
    assert_eq!(ready, "");
}

#[test]
fn old_tls_is_refused() {
    for (oldest, refused, accepted) in [("1.2", "1.1", "1.2"), ("1.3", "1.2", "1.3")] {
        let sidecar = Sidecar::start(json!({"minTLS": oldest}));
        let answer = sidecar.get_with_tls(refused);
        assert!(
            answer.status == 0 && answer.error.contains("alert protocol version"),
            "TLS {refused} where {oldest} is the oldest: {answer:?}"
        );
        let answer = sidecar.get_with_tls(accepted);
        assert_eq!(
            answer.status, 200,
            "TLS {accepted} where {oldest} is the oldest: {answer:?}"
        );
    }
}

#[test]
fn http_1_0_can_be_refused() {
    let sidecar = Sidecar::start(json!({"acceptHTTP10": false}));
    assert_eq!(sidecar.get("/", &["--http1.0"]).status, 426);
    assert_eq!(sidecar.get("/", &["--http1.1"]).status, 200);
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    let mut sidecar = Sidecar::start(json!({}));
    let (second, files) = certificate(sidecar.certificates.path(), "second");
    assert_eq!(sidecar.get_trusting(&second, "/", &[]).status, 0, "not yet");
    sidecar.envoy.layout.publish("/etc/outrigger-tls", &files);
    eventually("the second certificate", || {
        sidecar.get_trusting(&second, "/", &[]).ok()
    });
    assert_eq!(sidecar.get("/", &[]).status, 0, "the first one is gone");
    // Garbage, as from a renewal gone wrong, changes nothing.
    let broken = ["tls.crt", "tls.key"].map(|file| (file.to_owned(), "no certificate".to_owned()));
    sidecar
        .envoy
        .layout
        .publish("/etc/outrigger-tls", &broken.into());
    eventually("the failed rotation is counted", || {
        let metrics = get(sidecar.probe, "/stats/prometheus").ok()?;
        let failed = metrics
            .lines()
            .any(|line| line.contains("key_rotation_failed") && line.ends_with(" 1"));
        failed
            .then_some(())
            .ok_or_else(|| "not in the metrics".to_owned())
    });
    assert_eq!(
        sidecar.get_trusting(&second, "/", &[]).status,
        200,
        "the last good one stays"
    );
    sidecar.envoy.process.assert_running();
}
