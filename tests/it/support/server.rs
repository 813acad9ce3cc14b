//! A running server and a client of it: the real binary, real TLS, real time.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use super::command;

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// An `outrigger serve` of its own, on ports of its own. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) webhook: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As sent, in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `response` of the review in the body.
    pub(crate) fn response(&self) -> Value {
        self.json()["response"].take()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Server {
    /// Starts a server with these arguments besides free ports and JSON logs, and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", arguments)
    }

    /// The same, with the webhook port at `listen`.
    pub(crate) fn start_at(listen: &str, arguments: &[&str]) -> Self {
        let fixed = ["--log-format", "json", "--shutdown-delay", "0s"];
        Self::launch(listen, &[&fixed, arguments].concat())
    }

    /// Starts a server with these arguments and nothing else besides free ports.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::launch("127.0.0.1:0", arguments)
    }

    fn launch(listen: &str, arguments: &[&str]) -> Self {
        let mut child = command(&["serve"])
            .args(["--listen", listen, "--admin-listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stderr = child.stderr.take().expect("standard error is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = kept.lock().expect("nobody panics here");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut addresses = Vec::new();
        eventually("the server listens", || {
            addresses = listening(&log.lock().expect("nobody panics here"));
            addresses.len() == 2
        });
        Self {
            child,
            webhook: addresses[0],
            admin: addresses[1],
            log,
        }
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody panics here").clone()
    }

    /// The log, with everything in it that was said before: lines wait a moment before they are written.
    pub(crate) fn whole_log(&self) -> String {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let last = format!("last-{}-", LAST.fetch_add(1, Ordering::Relaxed));
        self.post(
            "/mutate/annotated",
            review(&last, &pod(&json!({}))).to_string().as_bytes(),
        );
        eventually("the last request is logged", || self.log().contains(&last));
        self.log()
    }

    /// The first log line with that message, once it is there.
    pub(crate) fn line(&self, message: &str) -> Value {
        let mut found = Value::Null;
        eventually(&format!("a log line `{message}`"), || {
            found = self
                .log()
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["message"] == message)
                .unwrap_or_default();
            !found.is_null()
        });
        found
    }

    /// The process, for signals and `/proc`.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = std::process::Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the end, and says with which exit code it came.
    pub(crate) fn wait(&mut self) -> i32 {
        let mut code = None;
        eventually("the server ends", || {
            code = self
                .child
                .try_wait()
                .expect("it is our child")
                .and_then(|status| status.code());
            code.is_some()
        });
        code.expect("it has ended")
    }

    /// A GET on the plain port.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let stream = TcpStream::connect(self.admin).expect("the admin port is open");
        exchange(
            stream,
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
    }

    /// The value of a metric, by its name with its labels as exposed; 0 where it is not exposed yet.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.get("/metrics")
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or(0.0)
    }

    /// What a client has to know to trust this server.
    pub(crate) fn trust(&self) -> RootCertStore {
        trust(&self.get("/ca.pem").body)
    }

    /// A TLS connection, as an API server makes one.
    pub(crate) fn connect(&self) -> Connection {
        connect(self.webhook, client(self.trust())).expect("a TLS connection")
    }

    /// Sends one review through a connection of its own.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Answer {
        let mut connection = self.connect();
        connection
            .write_all(&request(path, body))
            .expect("the request goes");
        answer(&mut connection).expect("an answer")
    }

    /// Asserts that a good review still gets its patch, whatever came before it, and that nothing has panicked.
    #[track_caller]
    pub(crate) fn assert_serving(&self) {
        let answer = self.post("/mutate/annotated", &asking("still"));
        let response = answer.response();
        assert_eq!((answer.status, &response["uid"]), (200, &json!("still")));
        assert_eq!(response["patchType"], "JSONPatch", "{}", answer.text());
        let metrics = self.get("/metrics").text();
        assert!(metrics.contains("outrigger_panics_total 0\n"), "{metrics}");
    }

    /// Asserts that so many were turned away for `reason`, once the server has counted them.
    #[track_caller]
    pub(crate) fn assert_rejected(&self, reason: &str, count: u32) {
        let name = format!("outrigger_rejected_total{{reason=\"{reason}\"}}");
        eventually(&format!("{count} times {reason}"), || {
            self.metric(&name) >= f64::from(count)
        });
        assert!((self.metric(&name) - f64::from(count)).abs() < f64::EPSILON);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The two addresses of the line `serving`, in either format.
fn listening(log: &str) -> Vec<SocketAddr> {
    log.lines()
        .filter(|line| line.contains("serving"))
        .flat_map(|line| line.split([' ', '=', '"']))
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// A client's side of a TLS connection.
pub(crate) type Connection = StreamOwned<ClientConnection, TcpStream>;

/// The reading side alone: what the server said before it stopped to take anything.
#[derive(Debug)]
pub(crate) struct LastWords<'a>(pub(crate) &'a mut Connection);

impl Read for LastWords<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let StreamOwned { conn, sock } = &mut *self.0;
        loop {
            match conn.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    conn.read_tls(sock)?;
                    conn.process_new_packets().map_err(std::io::Error::other)?;
                }
                result => return result,
            }
        }
    }
}

/// The CA certificates of a PEM text.
pub(crate) fn trust(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots
            .add(certificate.expect("PEM"))
            .expect("a CA certificate");
    }
    roots
}

/// A client that trusts `roots`, shows no certificate and offers HTTP/1.1.
pub(crate) fn client(roots: RootCertStore) -> ClientConfig {
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Connects and shakes hands.
pub(crate) fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<Connection> {
    connect_as("localhost", address, config)
}

/// The same, with a server that is expected to be called `name`.
pub(crate) fn connect_as(
    name: &'static str,
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<Connection> {
    let name = ServerName::try_from(name).expect("a DNS name or an IP address");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// A POST of JSON that keeps its connection.
pub(crate) fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    raw_request(&format!("POST {path} HTTP/1.1"), &headers, body)
}

/// A request as given; each header ends in CRLF.
pub(crate) fn raw_request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{line}\r\nHost: localhost\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Reads one answer; the connection can be used again.
pub(crate) fn answer(stream: &mut impl Read) -> std::io::Result<Answer> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    Ok(Answer { status, head, body })
}

/// Sends bytes and reads one answer.
pub(crate) fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> Answer {
    stream.write_all(bytes).expect("the request goes");
    answer(&mut stream).expect("an answer")
}

/// Waits for a condition, not for time.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The creation of `pod` in namespace `shop`.
pub(crate) fn review(uid: &str, pod: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": uid, "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "shop", "operation": "CREATE", "object": pod, "dryRun": false}})
}

/// A Pod with one container and these annotations.
pub(crate) fn pod(annotations: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "shop-", "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080}]}]}})
}

/// A Pod that asks for `redis-metrics`, in a review.
pub(crate) fn asking(uid: &str) -> Vec<u8> {
    review(
        uid,
        &pod(&json!({"adapter.outrigger.dev/redis-metrics": ""})),
    )
    .to_string()
    .into_bytes()
}

/// Replaces a file's content.
pub(crate) fn put(path: impl AsRef<Path>, text: &str) {
    std::fs::write(path, text).expect("the file is written");
}
