//! One kept-alive TLS connection that sends reviews and believes no answer unseen.
//!
//! HTTP is written by hand on a blocking socket: the client has one core for all its connections, and it must not be what a server
//! waits for. It therefore takes only what the webhook sends: an answer of known length.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::review::{Review, check};

/// The name that the certificates are for, as far as this client is concerned.
pub(crate) const SERVER_NAME: &str = "localhost";
/// As long as the API server would wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a server is, and whom to trust there.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// `ca` is PEM.
    pub(crate) fn new(address: SocketAddr, ca: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            address,
            tls: Arc::new(tls),
        })
    }

    /// A connection that will send this review; the handshake is done with the first.
    pub(crate) fn connect(&self, review: &Review) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(SERVER_NAME)?;
        let session = ClientConnection::new(Arc::clone(&self.tls), name)?;
        Ok(Connection {
            stream: StreamOwned::new(session, socket),
            review: review.clone(),
            received: Vec::new(),
        })
    }
}

/// The status line of an answer that is none. A server may say so while it starts.
#[derive(Debug, thiserror::Error)]
#[error("a review was answered with `{0}`")]
pub(crate) struct Refused(String);

pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    review: Review,
    /// The answer as it comes in; kept for its capacity.
    received: Vec<u8>,
}

impl Connection {
    /// Sends the review under a new uid and checks the answer.
    pub(crate) fn exchange(&mut self) -> anyhow::Result<()> {
        let uid = self.review.renew();
        self.stream
            .write_all(self.review.request())
            .context("a review cannot be sent")?;
        self.stream.flush().context("a review cannot be sent")?;
        check(self.answer()?, &uid)
    }

    fn answer(&mut self) -> anyhow::Result<&[u8]> {
        self.received.clear();
        let mut expected = None;
        let (head, length) = loop {
            if expected.is_none() {
                expected = head(&self.received)?;
            }
            if let Some((head, length)) = expected
                && self.received.len() >= head + length
            {
                break (head, length);
            }
            self.read()?;
        };
        if self.received.len() > head + length {
            bail!("there is more than the answer");
        }
        Ok(&self.received[head..])
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk).context("no answer came")?;
        if count == 0 {
            bail!("the server closed the connection instead of answering");
        }
        self.received.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

/// The lengths of head and body, once the head is there.
fn head(received: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end]).context("the answer's head is no text")?;
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        bail!(Refused(status.to_owned()));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("the answer does not say how long it is")?
        .1;
    Ok(Some((end + 4, length.trim().parse()?)))
}
