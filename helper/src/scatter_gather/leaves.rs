//! Who the leaves are: all addresses of all names.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::Name as DomainName;
use hyper::header::HeaderValue;
use hyper::http;
use tokio::time::{Instant, sleep, timeout};

/// How long it is remembered that a name has no address: a Service that is scaled up from none is seen soon.
const ABSENCE: Duration = Duration::from_secs(1);
/// How long a question may take, with its retries.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a request waits for the answer where the addresses of before are known.
const IMPATIENCE: Duration = Duration::from_millis(100);
/// How long the addresses of before serve while the name server does not answer.
const STALE: Duration = Duration::from_mins(5);

/// One leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) address: SocketAddr,
    /// The same as URIs have it.
    pub(super) authority: http::uri::Authority,
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
    names: Vec<Arc<Name>>,
}

#[derive(Debug)]
struct Name {
    authority: Authority,
    known: Mutex<Known>,
}

/// What has been found out about a name.
#[derive(Debug, Default)]
struct Known {
    addresses: Option<(Instant, Vec<IpAddr>)>,
    /// Which of the names that the search list makes of it is there. The others need not be asked for again, and none of them can
    /// say that there is no such name while this one's server fails.
    full: Option<DomainName>,
    /// The last question was not answered: requests do not wait, and one task goes on asking.
    in_trouble: bool,
    asking: bool,
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
                .map(|authority| {
                    Arc::new(Name {
                        authority,
                        known: Mutex::default(),
                    })
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
            leaves.extend(addresses.into_iter().filter_map(|ip| {
                let address = SocketAddr::new(ip, *port);
                Some(Leaf {
                    address,
                    authority: address.to_string().parse().ok()?,
                    host: header.clone(),
                })
            }));
        }
        (leaves, absent)
    }

    /// By the records' time to live; those of before, as long as the name server does not answer.
    async fn addresses(&self, name: &Arc<Name>) -> Vec<IpAddr> {
        if let Ok(ip) = name.authority.host.parse() {
            return vec![ip];
        }
        let stale = name.stale();
        let in_trouble = name.known().in_trouble;
        match stale {
            Some(stale) if in_trouble => {
                name.ask_on(&self.resolver);
                stale
            }
            Some(stale) => name.ask(&self.resolver, IMPATIENCE).await.unwrap_or(stale),
            None => name.ask(&self.resolver, PATIENCE).await.unwrap_or_default(),
        }
    }
}

impl Name {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stale(&self) -> Option<Vec<IpAddr>> {
        let known = self.known();
        let (_, addresses) = known
            .addresses
            .as_ref()
            .filter(|(at, _)| at.elapsed() < STALE)?;
        Some(addresses.clone())
    }

    /// Asks while requests go on with what they have; not twice at once.
    fn ask_on(self: &Arc<Self>, resolver: &TokioResolver) {
        if std::mem::replace(&mut self.known().asking, true) {
            return;
        }
        let (name, resolver) = (self.clone(), resolver.clone());
        tokio::spawn(async move {
            if name.ask(&resolver, PATIENCE).await.is_none() {
                sleep(IMPATIENCE).await;
            }
            name.known().asking = false;
        });
    }

    /// Nothing where there is no answer in time.
    async fn ask(&self, resolver: &TokioResolver, patience: Duration) -> Option<Vec<IpAddr>> {
        let host = &self.authority.host;
        let full = self.known().full.clone();
        let answer = match full {
            Some(full) => timeout(patience, resolver.lookup_ip(full)).await,
            None => timeout(patience, resolver.lookup_ip(host.as_str())).await,
        };
        let mut known = self.known();
        let trouble = match answer {
            Ok(Ok(found)) => {
                let addresses: Vec<_> = found.iter().collect();
                let mut full = found.as_lookup().query().name().clone();
                full.set_fqdn(true);
                *known = Known {
                    addresses: Some((Instant::now(), addresses.clone())),
                    full: Some(full),
                    in_trouble: false,
                    ..*known
                };
                return Some(addresses);
            }
            Ok(Err(error)) if is_absence(&error) => {
                *known = Known {
                    asking: known.asking,
                    ..Known::default()
                };
                return Some(Vec::new());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if !std::mem::replace(&mut known.in_trouble, true) {
            tracing::warn!(name = host, error = trouble, "the name cannot be resolved");
        }
        None
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
