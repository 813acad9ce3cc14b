//! HTTP/1.1 by hand: what no client sends, and what comes back to the byte.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::PATIENCE;

type Headers = Vec<(String, String)>;

/// The first line, and the headers with their names in small letters, as Latin-1. Nothing at the end of the stream.
pub(super) async fn head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<(String, Headers)> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_ascii_end() {
            b"" => break,
            line => lines.push(line.iter().copied().map(char::from).collect::<String>()),
        }
    }
    let mut lines = lines.into_iter();
    let first = lines.next()?;
    let headers = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    Some((first, headers))
}

pub(super) fn content_length(headers: &Headers) -> Option<usize> {
    let length = headers.iter().find(|(name, _)| name == "content-length")?;
    length.1.parse().ok()
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection(BufReader<TcpStream>);

/// What the helper says, which always tells its length.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: String,
}

impl Connection {
    /// To `http://127.0.0.1:8090`.
    pub(super) async fn open(url: &str) -> Self {
        Self::try_open(url).await.expect("a connection")
    }

    pub(super) async fn try_open(url: &str) -> std::io::Result<Self> {
        let address: SocketAddr = url
            .trim_start_matches("http://")
            .parse()
            .expect("an address");
        TcpStream::connect(address)
            .await
            .map(BufReader::new)
            .map(Self)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("bytes are taken");
    }

    /// The next answer, whose request was no HEAD; nothing if the connection was closed instead.
    pub(super) async fn answer(&mut self) -> Option<Said> {
        self.read(true).await
    }

    /// The answer to a HEAD.
    pub(super) async fn head_only(&mut self) -> Option<Said> {
        self.read(false).await
    }

    async fn read(&mut self, has_body: bool) -> Option<Said> {
        let read = async {
            let (line, headers) = head(&mut self.0).await?;
            let status = line.split(' ').nth(1)?.parse().ok()?;
            let length = content_length(&headers).filter(|_| has_body);
            let mut body = vec![0; length.unwrap_or(0)];
            self.0.read_exact(&mut body).await.ok()?;
            Some(Said {
                status,
                headers,
                body: String::from_utf8(body).ok()?,
            })
        };
        timeout(PATIENCE, read).await.expect("an answer, or an end")
    }

    /// Whether the other side has closed it; waits until it has, or says something.
    pub(super) async fn closed(&mut self) -> bool {
        let mut byte = [0];
        let read = timeout(PATIENCE, self.0.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}

/// One request on a connection of its own.
pub(super) async fn say(url: &str, bytes: &[u8]) -> Option<Said> {
    let mut connection = Connection::open(url).await;
    connection.send(bytes).await;
    connection.answer().await
}
