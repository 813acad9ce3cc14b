//! Processes that die with their test, ports that are free, conditions that are waited for, and curl.

use std::fmt::Display;
use std::io::{Read, Seek};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a condition may take to hold. Far above what any takes here: the limit is for machines under load.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// The path of a binary, from the variable that `tests/engines/run` sets.
pub(crate) fn binary(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("`{variable}` names no binary: run `bash tests/engines/run`"))
}

pub(crate) fn envoy() -> String {
    binary("OUTRIGGER_ENVOY")
}

/// Ports that a test of this run has chosen. The engines speak TCP only, so the UDP socket of the same number serves as a lock,
/// against the other tests and against another run on this machine: a port is chosen long before its engine listens on it.
static CLAIMED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// Takes a port for the rest of the run, if nobody listens on it: neither on the IPv4 loopback nor, as Envoy does, on everything.
pub(crate) fn claim(port: u16) -> bool {
    let Ok(lock) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let free = is_free((Ipv4Addr::LOCALHOST, port).into())
        && is_free((Ipv6Addr::UNSPECIFIED, port).into());
    if free {
        CLAIMED.lock().expect("no test panics here").push(lock);
    }
    free
}

fn is_free(address: SocketAddr) -> bool {
    match TcpListener::bind(address) {
        Ok(_) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => false,
        // A machine without IPv6: the built-ins listen on it.
        Err(error) => panic!("{address}: {error}"),
    }
}

/// A port of the loopback that was free just now and that no other test gets.
pub(crate) fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        if claim(port) {
            return port;
        }
    }
}

/// A running engine. Killed when it goes out of scope; its output is printed if the test has failed.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: std::fs::File,
}

impl Process {
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Self {
        let log = tempfile::tempfile().expect("a temporary file");
        let output = || Stdio::from(log.try_clone().expect("a descriptor"));
        let child = command
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, child, log }
    }

    /// As [`eventually`], but a process that has ended is not waited for.
    pub(crate) fn until<T, E: Display>(
        &mut self,
        what: &str,
        mut ask: impl FnMut() -> Result<T, E>,
    ) -> T {
        eventually(what, || {
            self.assert_running();
            ask()
        })
    }

    /// Fails the test if the process has ended.
    pub(crate) fn assert_running(&mut self) {
        let ended = self.child.try_wait().expect("a status");
        assert_eq!(ended, None, "{} has ended", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut text = String::new();
            let _ = self.log.rewind();
            let _ = self.log.read_to_string(&mut text);
            eprintln!("--- {}\n{text}", self.name);
        }
    }
}

/// Asks until the answer is `Ok`; fails the test with the last `Err`.
pub(crate) fn eventually<T, E: Display>(what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) if Instant::now() > deadline => {
                panic!("not in {PATIENCE:?}: {what}: {error}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// What curl got: a status and a body, or its error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Empty if there was an answer.
    pub(crate) error: String,
}

impl Answer {
    /// The body of a 200; anything else as a sentence.
    pub(crate) fn ok(self) -> Result<String, String> {
        self.status(200)
    }

    /// The body of an answer with this status; anything else as a sentence.
    pub(crate) fn status(self, expected: u16) -> Result<String, String> {
        if self.status == expected {
            Ok(self.body)
        } else {
            Err(format!("{self:?}"))
        }
    }
}

/// Runs curl with these arguments. No configuration of the user's and no proxy has a say in it.
pub(crate) fn curl<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Answer {
    let output = Command::new("curl")
        .args(["--disable", "--noproxy", "*", "--silent", "--show-error"])
        .args(["--max-time", "10", "--write-out", "\n%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("a line with the status");
    Answer {
        status: status.parse().expect("a status"),
        body: body.to_owned(),
        error: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }
}

/// GET of a path on a port of the loopback, without TLS.
pub(crate) fn get(port: u16, path: &str) -> Answer {
    curl(&[format!("http://127.0.0.1:{port}{path}")])
}
