//! The servers as processes: started on their core, asked what they cost, ended.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::client::Target;

/// All servers share one core, so that one worker each is all they start; only one of them has work at a time.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Floor,
    Outrigger,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "the floor",
            Self::Outrigger => "outrigger",
        })
    }
}

/// The same of both servers.
#[derive(Clone, Copy)]
pub(crate) struct Pair<T> {
    pub(crate) floor: T,
    pub(crate) ours: T,
}

impl<T> Pair<T> {
    pub(crate) fn as_mut(&mut self) -> Pair<&mut T> {
        let Self { floor, ours } = self;
        Pair { floor, ours }
    }

    /// The floor first.
    pub(crate) fn try_map<U>(
        self,
        mut of: impl FnMut(T) -> anyhow::Result<U>,
    ) -> anyhow::Result<Pair<U>> {
        let floor = of(self.floor)?;
        let ours = of(self.ours)?;
        Ok(Pair { floor, ours })
    }
}

/// Keeps this process, and the threads that it will start, off the servers' core.
pub(crate) fn pin_client() -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset")
        .args(["--cpu-list", "--pid", CLIENT_CORE, &pid])
        .stdout(Stdio::null())
        .status()
        .context("`taskset` cannot be run")?;
    ensure!(
        status.success(),
        "this process cannot be pinned to core {CLIENT_CORE}: two cores are needed"
    );
    // A sleep may end 50 µs late by default; in an open loop that would look like the server's latency. Threads inherit it.
    std::fs::write("/proc/self/timerslack_ns", "1").context("the timer slack cannot be set")
}

/// A running server; ends with its value.
pub(crate) struct Server {
    process: Process,
    pub(crate) target: Target,
}

/// Ends the process however the benchmark ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Returns once the server has said where it listens.
    pub(crate) fn start(kind: Kind) -> anyhow::Result<Self> {
        match kind {
            Kind::Floor => Self::start_floor(),
            Kind::Outrigger => Self::start_ours(),
        }
        .with_context(|| format!("{kind} does not start"))
    }

    fn start_floor() -> anyhow::Result<Self> {
        let mut child = pinned(std::env::current_exe()?)
            .arg("floor")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let process = Process(child);
        let mut said = BufReader::new(stdout.context("no stdout")?).lines();
        let address = said.next().context("it said nothing")??.parse()?;
        let mut certificate = String::new();
        while !certificate.contains("-----END") {
            certificate += &said.next().context("its certificate is cut short")??;
            certificate.push('\n');
        }
        let target = Target::new(address, &certificate)?;
        Ok(Self { process, target })
    }

    /// With its log as in a cluster, so that the log's cost is in what is measured; nobody keeps it.
    fn start_ours() -> anyhow::Result<Self> {
        let mut child = pinned(env!("CARGO_BIN_EXE_outrigger").into())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--admin-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--log-level", "info"])
            .args(["--shutdown-delay", "0s"])
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take();
        let process = Process(child);
        let mut log = BufReader::with_capacity(64 * 1024, stderr.context("no stderr")?);
        let (address, admin) = serving(&mut log)?;
        std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        let target = Target::new(address, &get(admin, "/ca.pem")?)?;
        Ok(Self { process, target })
    }

    /// The time that its threads have had a core for so far; the kernel counts it in nanoseconds, unlike a process's times.
    pub(crate) fn clock(&self) -> anyhow::Result<Clock> {
        let mut threads = HashMap::new();
        for task in std::fs::read_dir(self.proc("task"))? {
            let path = task?.path();
            // A thread may end in between.
            if let Ok(text) = std::fs::read_to_string(path.join("schedstat")) {
                let first = text.split(' ').next().context("an empty schedstat")?;
                threads.insert(path, Duration::from_nanos(first.parse()?));
            }
        }
        Ok(Clock(threads))
    }

    /// Memory in KiB that is not swapped out, shared pages included.
    pub(crate) fn resident(&self) -> anyhow::Result<u32> {
        let status = std::fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kibibytes.context("no VmRSS in its status")?.parse()?)
    }

    /// `taskset` becomes the server, so its process is the server's.
    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.process.0.id()))
    }
}

/// CPU time by thread.
pub(crate) struct Clock(HashMap<PathBuf, Duration>);

impl Clock {
    /// By thread, so that an idle thread that ended in between does not take its past with it.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let spent = self.0.iter().map(|(thread, now)| {
            let then = before.0.get(thread).copied().unwrap_or_default();
            now.saturating_sub(then)
        });
        spent.sum()
    }
}

fn pinned(executable: PathBuf) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", SERVER_CORE])
        .arg(executable)
        .stdin(Stdio::null());
    command
}

/// Reads the log as far as the line that says where the server listens: the webhook's address, and the admin port's.
fn serving(log: &mut impl BufRead) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let mut said = String::new();
    for line in log.lines() {
        let line = line?;
        if line.contains(r#""serving""#) {
            let event: Value = serde_json::from_str(&line)?;
            let address = |key| {
                let text = find(&event, key).with_context(|| format!("no `{key}` in `{line}`"))?;
                anyhow::Ok(text.parse()?)
            };
            return Ok((address("listen")?, address("admin_listen")?));
        }
        said.push_str(&line);
        said.push('\n');
    }
    bail!("it ended without serving and said:\n{said}")
}

/// The text under `key`, at whatever depth the log's format puts an event's fields.
fn find<'a>(event: &'a Value, key: &str) -> Option<&'a str> {
    let fields = event.as_object()?;
    let here = fields.get(key).and_then(Value::as_str);
    here.or_else(|| fields.values().find_map(|value| find(value, key)))
}

/// The body of a plain HTTP answer; 1.0, so that it comes in one piece.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("`{path}` is not answered"))?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.contains(" 200"),
        "`{path}` is answered with `{status}`"
    );
    Ok(body.to_owned())
}
