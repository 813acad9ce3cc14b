//! Who the leaves are: all addresses of all names.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hyper::header::HeaderValue;
use tokio::time::{Instant, timeout};

/// How long it is remembered that a name has no address: a Service that is scaled up from none is seen soon.
const ABSENCE: Duration = Duration::from_secs(1);
/// How long a question may take, with its retries.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the addresses of before serve while the name server does not answer.
const STALE: Duration = Duration::from_mins(5);

/// One leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) address: SocketAddr,
    /// What the leaf is told it is called.
    pub(super) host: HeaderValue,
}

/// `host:port`.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    host: String,
    port: u16,
    header: HeaderValue,
}

impl Authority {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("expected host:port, not `{text}`");
        let authority: hyper::http::uri::Authority = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/')
            .parse()
            .map_err(|_| expected())?;
        let port = authority
            .port_u16()
            .filter(|port| *port > 0)
            .ok_or_else(expected)?;
        let header = HeaderValue::from_str(authority.as_str()).map_err(|_| expected())?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(expected());
        }
        Ok(Self { host, port, header })
    }
}

/// Where leaves come from.
#[derive(Debug)]
pub(super) struct Leaves {
    resolver: TokioResolver,
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    authority: Authority,
    known: Mutex<Option<(Instant, Vec<IpAddr>)>>,
}

impl Leaves {
    /// Reads `/etc/resolv.conf`.
    pub(super) fn new(names: Vec<Authority>) -> anyhow::Result<Self> {
        let mut builder =
            TokioResolver::builder_tokio().context("`/etc/resolv.conf` cannot be used")?;
        let options = builder.options_mut();
        // Both families would be every leaf twice.
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        options.negative_max_ttl = Some(ABSENCE);
        Ok(Self {
            resolver: builder
                .build()
                .context("`/etc/resolv.conf` cannot be used")?,
            names: names
                .into_iter()
                .map(|authority| Name {
                    authority,
                    known: Mutex::default(),
                })
                .collect(),
        })
    }

    /// The leaves as of now, in an order that does not change with the answers' order; and the names that
    /// have no address.
    pub(super) async fn now(&self) -> (Vec<Leaf>, Vec<String>) {
        let (mut leaves, mut absent) = (Vec::new(), Vec::new());
        let asked = join_all(self.names.iter().map(|name| self.addresses(name))).await;
        for (name, mut addresses) in self.names.iter().zip(asked) {
            addresses.sort_unstable();
            addresses.dedup();
            if addresses.is_empty() {
                absent.push(
                    name.authority
                        .header
                        .to_str()
                        .unwrap_or_default()
                        .to_owned(),
                );
            }
            let Authority { port, header, .. } = &name.authority;
            leaves.extend(addresses.into_iter().map(|ip| Leaf {
                address: SocketAddr::new(ip, *port),
                host: header.clone(),
            }));
        }
        (leaves, absent)
    }

    /// By the records' time to live; those of before, as long as the name server does not answer.
    async fn addresses(&self, name: &Name) -> Vec<IpAddr> {
        let host = &name.authority.host;
        if let Ok(ip) = host.parse() {
            return vec![ip];
        }
        let answer = timeout(PATIENCE, self.resolver.lookup_ip(host.as_str())).await;
        let mut known = name.known.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = match answer {
            Ok(Ok(found)) => {
                let addresses: Vec<_> = found.iter().collect();
                *known = Some((Instant::now(), addresses.clone()));
                return addresses;
            }
            Ok(Err(error)) if is_absence(&error) => {
                *known = None;
                return Vec::new();
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        let stale = known.as_ref().filter(|(at, _)| at.elapsed() < STALE);
        tracing::warn!(
            name = host,
            error = trouble,
            stale = stale.is_some(),
            "the name cannot be resolved"
        );
        stale
            .map(|(_, addresses)| addresses.clone())
            .unwrap_or_default()
    }
}

/// The name server says that there is none, rather than nothing.
fn is_absence(error: &NetError) -> bool {
    error.is_no_records_found() || error.is_nx_domain()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_have_a_host_and_a_port() {
        let parse = |text| Authority::parse(text).map(|authority| (authority.host, authority.port));
        assert_eq!(
            parse("search-leaf:8080"),
            Ok(("search-leaf".to_owned(), 8080))
        );
        assert_eq!(
            parse("http://10.0.0.1:80/"),
            Ok(("10.0.0.1".to_owned(), 80))
        );
        assert_eq!(parse("[fd00::1]:80"), Ok(("fd00::1".to_owned(), 80)));
        for bad in [
            "",
            "leaf",
            "leaf:",
            "leaf:0",
            "leaf:99999",
            ":80",
            "https://leaf:1",
            "u@leaf:80",
            "leaf:80/path",
        ] {
            assert_eq!(parse(bad), Err(format!("expected host:port, not `{bad}`")));
        }
    }
}
