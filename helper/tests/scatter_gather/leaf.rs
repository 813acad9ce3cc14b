//! Leaves: HTTP/1.1 servers with many addresses and one port, as the Pods of a headless Service have. They speak by hand, so that
//! they can misbehave, and they keep what they were sent as it came.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::wire;

/// What a leaf does with a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// An answer of a known length; the connection stays.
    Answer {
        status: u16,
        headers: String,
        body: Vec<u8>,
    },
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// These bytes again and again.
    Endless(&'static [u8]),
    /// A JSON text of this many bytes, whose length is told before or not.
    Flood { bytes: usize, told: bool },
    /// An answer that begins and comes byte by byte, without end.
    Drip,
    /// Nothing.
    Silence,
    /// Another reply, when the gate is open.
    Behind(Gate, Box<Self>),
}

impl Reply {
    pub(super) fn json(value: Value) -> Self {
        Self::text(200, &value.to_string())
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            headers: "content-type: application/json\r\n".to_owned(),
            body: body.as_bytes().to_vec(),
        }
    }

    pub(super) fn behind(self, gate: &Gate) -> Self {
        Self::Behind(gate.clone(), Box::new(self))
    }
}

/// Holds replies back until it is open.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn shut() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(super) fn open(&self) {
        self.0.close();
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// `GET /path HTTP/1.1`
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
struct State {
    reply: Mutex<Reply>,
    /// Replies to these paths.
    special: Mutex<Vec<(&'static str, Reply)>>,
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    answered: AtomicUsize,
}

/// One leaf; gone when it goes out of scope.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    serving: Option<JoinHandle<()>>,
}

impl Leaf {
    /// Serves what [`Leaf::usual`] says.
    pub(super) async fn start(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            reply: Mutex::new(Self::usual(address)),
            special: Mutex::default(),
            seen: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
        });
        Ok(Self {
            address,
            serving: Some(tokio::spawn(serve(listener, state.clone()))),
            state,
        })
    }

    /// A part of a search: leaf 3 has a document d3 of score 3.
    fn usual(address: SocketAddr) -> Reply {
        let number = number(address.ip());
        Reply::json(json!({
            "total": number,
            "hits": [{"doc": format!("d{number}"), "score": number}],
            "shards": {format!("s{number}"): number},
            "from": format!("leaf {number}"),
        }))
    }

    pub(super) fn replies(&self, reply: Reply) {
        *self.state.reply.lock().expect("no panic here") = reply;
    }

    /// The reply to this path, whatever the others get.
    pub(super) fn replies_to(&self, path: &'static str, reply: Reply) {
        let mut special = self.state.special.lock().expect("no panic here");
        special.push((path, reply));
    }

    /// The requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("no panic here").clone()
    }

    /// How many connections it has had.
    pub(super) fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// How many connections it has.
    pub(super) fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// How many answers it has sent, to their end.
    pub(super) fn answered(&self) -> usize {
        self.state.answered.load(Ordering::SeqCst)
    }

    /// Ends as a Pod does whose process has gone: its port is closed.
    pub(super) async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// The last part of the address, which tells leaves apart.
fn number(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // Aborts them when it goes.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        state.accepted.fetch_add(1, Ordering::SeqCst);
        state.open.fetch_add(1, Ordering::SeqCst);
        connections.spawn(connection(stream, Open(state.clone())));
    }
}

impl State {
    fn reply_to(&self, seen: &Seen) -> Reply {
        let path = seen.line.split(' ').nth(1);
        let special = self.special.lock().expect("no panic here");
        let special = special.iter().find(|(special, _)| Some(*special) == path);
        special.map_or_else(
            || self.reply.lock().expect("no panic here").clone(),
            |(_, reply)| reply.clone(),
        )
    }
}

struct Open(Arc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Until either side has had enough.
async fn connection(stream: TcpStream, open: Open) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Some(seen) = request(&mut stream).await {
        let reply = open.0.reply_to(&seen);
        open.0.seen.lock().expect("no panic here").push(seen);
        if send(&mut stream, reply).await.is_none() {
            return;
        }
        open.0.answered.fetch_add(1, Ordering::SeqCst);
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let (line, headers) = wire::head(stream).await?;
    let length = wire::content_length(&headers).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen {
        line,
        headers,
        body,
    })
}

/// Nothing where the connection is of no more use.
async fn send(stream: &mut BufReader<TcpStream>, mut reply: Reply) -> Option<()> {
    while let Reply::Behind(Gate(gate), then) = reply {
        tokio::select! {
            _ = gate.acquire() => {}
            () = gone(stream) => return None,
        }
        reply = *then;
    }
    match reply {
        Reply::Answer {
            status,
            headers,
            body,
        } => {
            let head = format!(
                "HTTP/1.1 {status} Status\r\n{headers}content-length: {}\r\n\r\n",
                body.len()
            );
            stream
                .write_all(&[head.as_bytes(), &body].concat())
                .await
                .ok()
        }
        Reply::Raw(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            stream.shutdown().await.ok()?;
            None
        }
        Reply::Endless(bytes) => {
            while stream.write_all(bytes).await.is_ok() {}
            None
        }
        Reply::Flood { bytes, told } => flood(stream, bytes, told).await,
        Reply::Drip => {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n[\r\n";
            stream.write_all(head).await.ok()?;
            while stream.write_all(b"1\r\n \r\n").await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
            None
        }
        Reply::Silence => {
            gone(stream).await;
            None
        }
        Reply::Behind(..) => None,
    }
}

/// Waits until the other side closes.
async fn gone(stream: &mut BufReader<TcpStream>) {
    let mut byte = [0];
    while matches!(stream.read(&mut byte).await, Ok(1)) {}
}

/// `"aaa…"`
async fn flood(stream: &mut BufReader<TcpStream>, bytes: usize, told: bool) -> Option<()> {
    let piece = vec![b'a'; 16 * 1024];
    let framing = if told {
        format!("content-length: {bytes}")
    } else {
        "transfer-encoding: chunked".to_owned()
    };
    let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let chunk = async |stream: &mut BufReader<TcpStream>, data: &[u8]| {
        if told {
            return stream.write_all(data).await.ok();
        }
        let size = format!("{:x}\r\n", data.len());
        let framed = [size.as_bytes(), data, b"\r\n"].concat();
        stream.write_all(&framed).await.ok()
    };
    chunk(stream, b"\"").await?;
    let mut left = bytes - 2;
    while left > 0 {
        let now = left.min(piece.len());
        chunk(stream, &piece[..now]).await?;
        left -= now;
    }
    chunk(stream, b"\"").await?;
    if !told {
        stream.write_all(b"0\r\n\r\n").await.ok()?;
    }
    Some(())
}

/// Leaves 1, 2, … with addresses of a /24 of the loopback that no other test uses, and one port.
#[derive(Debug)]
pub(super) struct Leaves {
    pub(super) port: u16,
    net: [u8; 3],
    all: Vec<Leaf>,
}

impl Leaves {
    pub(super) async fn start(count: u8) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        // Another run of the tests may be under way.
        let of_process = 64 + u8::try_from(std::process::id() % 128).expect("less than 128");
        let mut leaves = Self {
            port: 0,
            net: [127, of_process, NEXT.fetch_add(1, Ordering::SeqCst)],
            all: Vec::new(),
        };
        while leaves.all.len() < usize::from(count) {
            // A port that is free on the first address may not be free on the others.
            if leaves.scale_up(1).await.is_err() {
                leaves.all.clear();
                leaves.port = 0;
            }
        }
        leaves
    }

    /// More of them.
    pub(super) async fn scale_up(&mut self, more: u8) -> std::io::Result<()> {
        for _ in 0..more {
            let number = u8::try_from(self.all.len() + 1).expect("few leaves");
            let leaf = Leaf::start(SocketAddr::new(self.ip(number), self.port)).await?;
            self.port = leaf.address.port();
            self.all.push(leaf);
        }
        Ok(())
    }

    /// The last ones go.
    pub(super) async fn scale_down(&mut self, fewer: usize) {
        for _ in 0..fewer {
            if let Some(mut leaf) = self.all.pop() {
                leaf.stop().await;
            }
        }
    }

    pub(super) fn stop(&mut self, index: usize) -> impl Future<Output = ()> {
        self.all[index].stop()
    }

    /// An address of the network of these leaves, whether there is a leaf or not.
    pub(super) fn ip(&self, number: u8) -> IpAddr {
        let [a, b, c] = self.net;
        IpAddr::V4(Ipv4Addr::new(a, b, c, number))
    }

    pub(super) fn ips(&self) -> Vec<IpAddr> {
        self.all.iter().map(|leaf| leaf.address.ip()).collect()
    }

    /// As `--leaf` takes them.
    pub(super) fn list(&self) -> String {
        let addresses: Vec<_> = self
            .all
            .iter()
            .map(|leaf| leaf.address.to_string())
            .collect();
        addresses.join(",")
    }

    pub(super) fn all_reply(&self, reply: &Reply) {
        for leaf in &self.all {
            leaf.replies(reply.clone());
        }
    }
}

impl Deref for Leaves {
    type Target = [Leaf];

    fn deref(&self) -> &[Leaf] {
        &self.all
    }
}
