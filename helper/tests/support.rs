//! Processes that die with their test, and what they say.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

pub mod authority;
pub mod databases;

/// How long a condition may take to hold. Far above what any takes here: the limit is for machines under load.
pub const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// The path of a program, or whatever else `tests/helper/run` sets.
pub fn setting(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("`{variable}` is not set: run `tests/helper/run`"))
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        sleep(POLL).await;
    }
}

/// A port of the loopback that was free just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

type Lines = Arc<Mutex<Vec<String>>>;

/// A running program. Killed when it goes out of scope; what it said is printed if the test has failed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: Lines,
    log: Lines,
}

impl Process {
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let out = gather(child.stdout.take().expect("its stdout"));
        let log = gather(child.stderr.take().expect("its stderr"));
        Self {
            name: name.to_owned(),
            child,
            out,
            log,
        }
    }

    /// The lines of its standard output so far.
    pub fn out(&self) -> Vec<String> {
        self.out.lock().expect("no panic here").clone()
    }

    /// The lines of its standard error so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic here").clone()
    }

    pub fn id(&self) -> u32 {
        self.running().expect("it runs")
    }

    /// Its id, unless its end has been seen.
    pub fn running(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`, `KILL`, `STOP`, `CONT`.
    pub async fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.id().to_string())
            .status()
            .await;
        assert!(
            status.expect("kill runs").success(),
            "{} is gone",
            self.name
        );
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("{} goes on", self.name))
            .expect("a status")
    }

    /// kill -9, and its end.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- {}\n{}\n{}",
                self.name,
                self.log().join("\n"),
                self.out().join("\n")
            );
        }
    }
}

fn gather(stream: impl AsyncRead + Unpin + Send + 'static) -> Lines {
    let lines = Lines::default();
    let into = lines.clone();
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream).lines();
        while let Ok(Some(line)) = stream.next_line().await {
            into.lock().expect("no panic here").push(line);
        }
    });
    lines
}

/// The program, to be given arguments.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_outrigger-helper"))
}

/// One job of the helper, on ports that were free.
#[derive(Debug)]
pub struct Helper {
    pub process: Process,
}

impl Helper {
    /// Starts a job; its health port is chosen by the system.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same with environment variables.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_at("127.0.0.1:0", arguments, environment)
    }

    /// The same with the health port at this address.
    pub fn start_at(address: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = program();
        command
            .args(arguments)
            .args(["--health-address", address])
            .envs(environment.iter().copied());
        Self {
            process: Process::start(arguments[0], &mut command),
        }
    }

    /// A job that takes this file for `/etc/resolv.conf`: in a mount namespace of its own, which needs root.
    pub fn start_resolving(resolv_conf: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg(r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#)
            .arg(resolv_conf)
            .arg(program().as_std().get_program())
            .args(arguments)
            .args(["--health-address", "127.0.0.1:0"]);
        Self {
            process: Process::start(arguments[0], &mut command),
        }
    }

    /// The first log line with this message.
    pub async fn logged(&self, message: &str) -> Value {
        let found = async || {
            let lines = self.process.log();
            lines
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["message"] == message)
        };
        until(&format!("{} to say `{message}`", self.process.name), found).await
    }

    /// `http://` and the address that it serves, from its log.
    async fn url(&self, message: &str) -> String {
        let line = self.logged(message).await;
        let address: SocketAddr = line["address"]
            .as_str()
            .expect("an address")
            .parse()
            .expect("an address");
        format!("http://{address}")
    }

    /// Where the app asks.
    pub async fn api(&self) -> String {
        self.url("serving").await
    }

    /// Where the kubelet asks.
    pub async fn health(&self) -> String {
        self.url("health port").await
    }

    /// One metric's value, as `work_queue_done_total`; labels are a part of the name.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = get(&format!("{}/metrics", self.health().await)).await.1;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no `{name}` in\n{text}"))
            .parse()
            .expect("a number")
    }

    /// Resident memory in KiB, as the kernel counts it.
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that it has been so far.
    pub fn peak_rss(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))
            .expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("its memory");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number")
    }
}

/// Status and body of a GET.
pub async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::get(url)
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"));
    (
        answer.status().as_u16(),
        answer.text().await.expect("a body"),
    )
}

/// A redis-server, or a valkey-server, in a directory of its own.
#[derive(Debug)]
pub struct Redis {
    program: &'static str,
    process: Option<Process>,
    pub port: u16,
    options: Vec<String>,
    directory: TempDir,
}

impl Redis {
    /// One that keeps nothing, with options such as `["--requirepass", "secret"]`.
    pub async fn start(options: &[&str]) -> Self {
        Self::of("OUTRIGGER_REDIS_SERVER", options).await
    }

    /// The same of Valkey.
    pub async fn valkey(options: &[&str]) -> Self {
        Self::of("OUTRIGGER_VALKEY_SERVER", options).await
    }

    async fn of(program: &'static str, options: &[&str]) -> Self {
        let mut redis = Self {
            program,
            process: None,
            port: free_port(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            directory: tempfile::tempdir().expect("a temporary directory"),
        };
        redis.restart().await;
        redis
    }

    /// One that forgets nothing it has acknowledged.
    pub async fn durable() -> Self {
        Self::start(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// kill -9, if it runs, and a new start with the same files.
    pub async fn restart(&mut self) {
        self.stop().await;
        let mut command = Command::new(setting(self.program));
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &self.port.to_string(),
                "--save",
                "",
                "--daemonize",
                "no",
                "--dir",
            ])
            .arg(self.directory.path())
            .args(&self.options);
        self.process = Some(Process::start("redis-server", &mut command));
        let url = self.url();
        until("redis-server to answer", async || {
            let client = redis::Client::open(url.as_str()).ok()?;
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            match redis::cmd("PING").query_async::<()>(&mut connection).await {
                Ok(()) => Some(()),
                // It answers, if only that it wants a password.
                Err(error) => (error.code() == Some("NOAUTH")).then_some(()),
            }
        })
        .await;
    }

    /// kill -9.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// A connection of the test's own.
    pub async fn client(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection")
    }

    /// The answer to a command whose words have no spaces in them.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        self.try_ask(command)
            .await
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The same where it may fail.
    pub async fn try_ask<T: redis::FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let mut words = redis::Cmd::new();
        words.arg(command.split(' ').collect::<Vec<_>>());
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        words.query_async(&mut connection).await
    }
}
