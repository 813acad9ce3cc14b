//! TCP: is there somebody who accepts connections.

use anyhow::Context;
use tokio::net::TcpStream;

use super::config::TcpSpec;

#[derive(Debug)]
pub(super) struct TcpCheck {
    address: String,
}

impl TcpCheck {
    pub(super) fn new(spec: TcpSpec) -> anyhow::Result<Self> {
        split(&spec.address)?;
        Ok(Self {
            address: spec.address,
        })
    }

    pub(super) async fn ask(&self) -> anyhow::Result<()> {
        TcpStream::connect(&self.address).await?;
        Ok(())
    }
}

/// `host:port` in its two parts.
pub(super) fn split(address: &str) -> anyhow::Result<(String, u16)> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| {
        Some((
            host.trim_start_matches('[').trim_end_matches(']'),
            port.parse().ok()?,
        ))
    });
    let (host, port) = parts
        .filter(|(host, _)| !host.is_empty())
        .with_context(|| format!("`address` is `{address}`: expected host:port"))?;
    Ok((host.to_owned(), port))
}
