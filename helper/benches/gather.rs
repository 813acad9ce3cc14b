//! What the root costs: one request through it to four leaves, beside the same request to one leaf, and its processor time under
//! full load. `cargo bench --package outrigger-helper --bench gather`.
//!
//! ```text
//!  this process                 the root's process
//!  client ──────────────────────────▶ root ─┐
//!  leaf 1 … leaf 4 ◀────────────────────────┘
//! ```
//!
//! Client and leaves are threads here, so the root's processor time is its own. Latencies of the two ways alternate within one run:
//! what counts is the difference; machines differ, and shared ones differ from minute to minute. The last column is what the Go
//! prototype of this job was measured at, elsewhere.

// What is expected here is said where it is expected; there is nobody to recover for.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LEAVES: u8 = 4;
/// Each is this many requests to a leaf and as many to the root.
const ROUNDS: usize = 50;
const REQUESTS: usize = 100;
/// Enough that the root always has a request waiting.
const CONNECTIONS: usize = 8;
const LOAD: Duration = Duration::from_secs(5);
const STARTS: usize = 11;
/// Of `/proc/PID/stat`: `USER_HZ` is 100 on every Linux that there is.
const TICK: Duration = Duration::from_millis(10);

/// As a search's partition answers.
const PART: &str = r#"{"total":11,"hits":[{"doc":"d1-0","score":0.5},{"doc":"d1-1","score":0.25}],"facets":{"de":1,"all":1},"q":"cat"}"#;

fn main() {
    let leaves: Vec<_> = (1..=LEAVES).map(leaf).collect();
    let mut starts: Vec<_> = (1..STARTS)
        .map(|_| Root::start(&leaves).ready_after)
        .collect();
    let root = Root::start(&leaves);
    starts.push(root.ready_after);
    let idle = root.memory("VmRSS:");

    let (mut to_leaf, mut to_root) = (Connection::open(leaves[0]), Connection::open(root.address));
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        direct.extend((0..REQUESTS).map(|_| to_leaf.exchange(false)));
        through.extend((0..REQUESTS).map(|_| to_root.exchange(true)));
    }
    // The first round warms up.
    let (mut direct, mut through) = (direct.split_off(REQUESTS), through.split_off(REQUESTS));
    drop((to_leaf, to_root));
    let load = root.load();

    let milliseconds = |duration: Duration| format!("{:.3} ms", duration.as_secs_f64() * 1000.0);
    println!("{:44}{:>14}{:>14}", "", "here", "Go prototype");
    for (what, here, prototype) in [
        (
            "one leaf, directly, p50",
            milliseconds(quantile(&mut direct, 0.5)),
            "0.06 ms",
        ),
        (
            "four leaves through the root, p50",
            milliseconds(quantile(&mut through, 0.5)),
            "0.40 ms",
        ),
        (
            "four leaves through the root, p99",
            milliseconds(quantile(&mut through, 0.99)),
            "",
        ),
        (
            "requests per second of the root's processor",
            format!("{:.0}", load.per_processor_second),
            "3830",
        ),
        (
            "requests per second, beside client and leaves",
            format!("{:.0}", load.per_second),
            "",
        ),
        (
            "from exec to the first answer, median",
            milliseconds(quantile(&mut starts, 0.5)),
            "",
        ),
        ("resident, idle", format!("{idle} KiB"), "8 MB"),
        (
            "resident, at most under load",
            format!("{} KiB", root.memory("VmHWM:")),
            "",
        ),
    ] {
        println!("{what:44}{here:>14}{prototype:>14}");
    }
}

fn quantile(durations: &mut [Duration], q: f64) -> Duration {
    durations.sort_unstable();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )] // an index
    let place = (durations.len() as f64 * q) as usize;
    durations[place]
}

/// Serves for ever, a thread a connection.
fn leaf(number: u8) -> SocketAddr {
    let address = (Ipv4Addr::new(127, 0, 0, number), 0);
    let listener = TcpListener::bind(address).expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            thread::spawn(|| serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("a socket");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{PART}",
        PART.len()
    );
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        request.extend_from_slice(&piece[..count]);
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// The root's process; gone when it goes out of scope.
struct Root {
    process: Child,
    address: SocketAddr,
    ready_after: Duration,
}

struct Load {
    per_processor_second: f64,
    per_second: f64,
}

impl Root {
    fn start(leaves: &[SocketAddr]) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let list: Vec<_> = leaves.iter().map(SocketAddr::to_string).collect();
        let begin = Instant::now();
        let process = Command::new(env!("CARGO_BIN_EXE_outrigger-helper"))
            .args(["scatter-gather", "--leaf", &list.join(",")])
            .args(["--listen", &address.to_string()])
            .args(["--health-address", "127.0.0.1:0"])
            .stderr(Stdio::null())
            .spawn()
            .expect("the helper starts");
        while TcpStream::connect(address).is_err() {
            thread::sleep(Duration::from_micros(100));
        }
        Connection::open(address).exchange(true);
        Self {
            process,
            address,
            ready_after: begin.elapsed(),
        }
    }

    /// As many requests as it takes, on all connections.
    fn load(&self) -> Load {
        let over = AtomicBool::new(false);
        let (begin, before) = (Instant::now(), self.processor_time());
        let count: u32 = thread::scope(|scope| {
            let client = || {
                let mut connection = Connection::open(self.address);
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    connection.exchange(true);
                    count += 1;
                }
                count
            };
            let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
            thread::sleep(LOAD);
            over.store(true, Ordering::Relaxed);
            let counts = clients
                .into_iter()
                .map(|client| client.join().expect("answers"));
            counts.sum()
        });
        let (elapsed, processor) = (
            begin.elapsed(),
            self.processor_time().saturating_sub(before),
        );
        Load {
            per_processor_second: f64::from(count) / processor.as_secs_f64(),
            per_second: f64::from(count) / elapsed.as_secs_f64(),
        }
    }

    /// In user mode and in the kernel, of all its threads.
    fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.expect("it runs");
        // The second field is a name in brackets, in which there may be anything.
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let ticks = fields.split(' ').skip(11).take(2);
        ticks
            .map(|ticks| TICK * ticks.parse().expect("ticks"))
            .sum()
    }

    /// In KiB, such as `VmRSS:`.
    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.expect("its memory").trim().trim_end_matches(" kB");
        number.parse().expect("a number")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A kept-alive client that believes no answer unseen.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a socket");
        Self(BufReader::new(stream))
    }

    /// How long it took from the request's first byte to the answer's last.
    fn exchange(&mut self, from_root: bool) -> Duration {
        let begin = Instant::now();
        self.0
            .get_mut()
            .write_all(b"GET /search?q=cat HTTP/1.1\r\nhost: search\r\nx-user: u1\r\n\r\n")
            .expect("a request is taken");
        let (mut length, mut leaves, mut line) = (0, String::new(), String::new());
        loop {
            line.clear();
            self.0.read_line(&mut line).expect("a head");
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().expect("a length");
                }
                Some((name, value)) if name.eq_ignore_ascii_case("x-leaves") => {
                    value.clone_into(&mut leaves);
                }
                Some(_) => {}
                None if line == "\r\n" => break,
                None => assert!(line.starts_with("HTTP/1.1 200 "), "`{line}`"),
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        let took = begin.elapsed();
        if from_root {
            assert_eq!(leaves, format!("{LEAVES}/{LEAVES}"));
            assert!(body.starts_with(b"{") && body.len() > PART.len());
        } else {
            assert_eq!(body, PART.as_bytes());
        }
        took
    }
}
