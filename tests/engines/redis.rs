//! Redis for the tests: servers, and the little of the protocol that it takes to talk to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, binary, free_port};

/// A redis-server that keeps nothing.
#[derive(Debug)]
pub(crate) struct Server {
    process: Option<Process>,
    host: &'static str,
    port: u16,
    options: Vec<String>,
    directory: TempDir,
}

impl Server {
    /// Starts one on the IPv4 loopback with options such as `--requirepass`, and waits for it to answer.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_on("127.0.0.1", options)
    }

    pub(crate) fn start_on(host: &'static str, options: &[&str]) -> Self {
        let mut server = Self {
            process: None,
            host,
            port: free_port(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            directory: tempfile::tempdir().expect("a temporary directory"),
        };
        server.restart();
        server
    }

    /// Starts it where it was, empty.
    pub(crate) fn restart(&mut self) {
        let mut command = Command::new(binary("OUTRIGGER_REDIS_SERVER"));
        command
            .args(["--bind", self.host, "--port", &self.port.to_string()])
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
                "--dir",
            ])
            .arg(self.directory.path())
            .args(&self.options);
        let mut process = Process::start("redis-server", &mut command);
        // Before a password was given, the answer is NOAUTH: an answer all the same.
        process.until("redis-server answers", || {
            Client::connect(self.host, self.port)
                .and_then(|mut client| client.call(&["PING"]))
                .map_err(|error| error.to_string())
                .map(drop)
        });
        self.process = Some(process);
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// As a pattern's parameter: `host:port`, an IPv6 address in brackets.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// A connection past every proxy.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.host, self.port).expect("a connection")
    }

    /// How many keys it holds.
    pub(crate) fn size(&self) -> usize {
        let size = self
            .client()
            .call(&["DBSIZE"])
            .expect("an answer")
            .expect("a size");
        size.expect("a number").parse().expect("a number")
    }
}

/// A reply: a value, the absence of one, or the server's error.
pub(crate) type Reply = Result<Option<String>, String>;

/// A connection that speaks RESP 2.
#[derive(Debug)]
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(host: &str, port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect((host, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends one command and reads a reply that is no list.
    pub(crate) fn call(&mut self, words: &[&str]) -> std::io::Result<Reply> {
        let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
        let words: Vec<_> = words.iter().map(bulk).collect();
        let request = format!("*{}\r\n{}", words.len(), words.concat());
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let wrong = || std::io::Error::other(format!("not a reply: `{line}`"));
        let (kind, rest) = line.split_at_checked(1).ok_or_else(wrong)?;
        match kind {
            "+" | ":" => Ok(Ok(Some(rest.to_owned()))),
            "-" => Ok(Err(rest.to_owned())),
            "$" if rest == "-1" => Ok(Ok(None)),
            "$" => {
                let length: usize = rest.parse().map_err(|_| wrong())?;
                let mut bytes = vec![0; length + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Ok(Ok(Some(String::from_utf8_lossy(&bytes).into_owned())))
            }
            _ => Err(wrong()),
        }
    }

    /// The same, where a lost connection fails the test.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Reply {
        self.call(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }
}
