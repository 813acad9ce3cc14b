//! TLS: which certificate is shown, who is let in, and how both are exchanged under running connections.
//!
//! ```text
//!  --tls self    own: a CA and a leaf ───────────────────┐
//!  --tls files   files: a pair, by content ──────────────┼─▶ ServerConfig ─▶ one swap ─▶ the next handshake
//!  --tls secret  shared: a leaf; the CAs in one Secret ──┤
//!  --client-ca   clients: who may connect ───────────────┘
//! ```
//!
//! Certificate, key and client CA change together at one point, so no connection ever sees half of a change. What cannot be read
//! keeps what was there before. Age is judged by the wall clock, since a timer sleeps when the machine does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use clap::{Args, ValueEnum};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;

pub(crate) mod authority;
mod clients;
mod files;
pub(crate) mod issue;
mod keep;
mod own;
mod shared;

use authority::{Authorities, Lifetimes};
use clients::{ClientArgs, Clients};
use files::{FileArgs, Files};
pub(crate) use keep::write;
use own::{Own, OwnArgs};
use shared::{Shared, SharedArgs};

/// What is wrong with certificates; the sentence names the file and what was expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The flags do not go together.
    #[error("{0}")]
    Arguments(String),
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        path: String,
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {problem}")]
    Content { path: String, problem: String },
    /// Certificate and key are no pair, or no configuration comes of them.
    #[error("the certificate does not work")]
    Unusable(#[from] rustls::Error),
    /// No client could ask for that.
    #[error("`{0}`: expected a DNS name or an IP address")]
    Name(String),
    /// Issuing failed.
    #[error("no certificate could be issued")]
    Issue(#[from] rcgen::Error),
}

/// Where the server's certificate comes from, and who may connect.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TlsArgs {
    /// Where the certificate comes from
    #[arg(long = "tls", value_enum, default_value_t = Mode::Own, value_name = "MODE")]
    mode: Mode,
    #[command(flatten)]
    own: OwnArgs,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    shared: SharedArgs,
    #[command(flatten)]
    clients: ClientArgs,
}

impl TlsArgs {
    /// Whether the CAs are in a Secret of the cluster.
    pub(crate) fn is_secret(&self) -> bool {
        self.mode == Mode::Secret
    }
}

/// The certificate's origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// A CA and a certificate of its own, in memory or under `--state-dir`
    #[default]
    #[value(name = "self")]
    Own,
    /// `--tls-cert` and `--tls-key`, read again when they change
    Files,
    /// A certificate of its own in memory, of a CA that all replicas share in a Secret. With `--cluster`
    Secret,
}

/// A certificate chain with its key, leaf first, and what is known about its age.
#[derive(Debug)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: rustls::pki_types::PrivateKeyDer<'static>,
}

/// When certificates end, for metrics and readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub(crate) leaf: SystemTime,
    /// Of the CA that we signed the leaf with; `None` where somebody else did.
    pub(crate) ca: Option<SystemTime>,
}

#[derive(Debug)]
enum Source {
    Own(Box<Own>),
    Files(Files),
    Shared(Box<Shared>),
}

/// The swap point.
#[derive(Debug)]
pub(crate) struct Tls {
    current: ArcSwap<ServerConfig>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    source: Source,
    clients: Option<Clients>,
    expiry: Expiry,
    /// Something was read that no configuration has been made of yet.
    stale: bool,
}

impl Tls {
    /// Loads everything, or says what is wrong. A certificate of `--tls secret` is for `service`: the names of a Service.
    pub(crate) fn load(args: &TlsArgs, service: &[String], now: SystemTime) -> Result<Self, Error> {
        let TlsArgs {
            mode,
            own,
            files,
            shared,
            clients,
        } = args;
        let stray = [
            (
                files.given() && *mode != Mode::Files,
                "`--tls-cert` and `--tls-key` go with `--tls files`",
            ),
            (
                own.given() && *mode != Mode::Own,
                "`--state-dir` and `--tls-name` go with `--tls self`",
            ),
            (
                shared.given() && *mode != Mode::Secret,
                "`--ca-lifetime` and `--leaf-lifetime` go with `--tls secret`",
            ),
        ];
        let stray = stray
            .into_iter()
            .find_map(|(given, sentence)| given.then_some(sentence));
        if let Some(sentence) = stray {
            return Err(Error::Arguments(sentence.to_owned()));
        }
        let mut source = match mode {
            Mode::Own => Source::Own(Box::new(Own::load(own, now)?)),
            Mode::Files => Source::Files(Files::new(files)?),
            Mode::Secret => Source::Shared(Box::new(Shared::load(shared, service, now)?)),
        };
        let mut clients = Clients::new(clients);
        if let Some(clients) = &mut clients {
            clients.refresh()?;
        }
        source.refresh(now)?;
        let (config, expiry) = config(&source, clients.as_ref())?;
        Ok(Self {
            current: ArcSwap::from_pointee(config),
            state: Mutex::new(State {
                source,
                clients,
                expiry,
                stale: false,
            }),
        })
    }

    /// The configuration for the next handshake.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads files again and renews what is due; true if the next handshake sees something new. What cannot be read is as before.
    pub(crate) fn refresh(&self, now: SystemTime) -> Result<bool, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State {
            source,
            clients,
            expiry,
            stale,
        } = &mut *state;
        // One that cannot be read does not keep the other from being exchanged.
        let certificate = source.refresh(now);
        let clients_ca = clients.as_mut().map_or(Ok(false), Clients::refresh);
        *stale |= matches!((&certificate, &clients_ca), (Ok(true), _) | (_, Ok(true)));
        let changed = *stale;
        if changed {
            let (config, until) = config(source, clients.as_ref())?;
            *expiry = until;
            self.current.store(Arc::new(config));
            *stale = false;
        }
        certificate.and(clients_ca)?;
        Ok(changed)
    }

    /// When the certificates end.
    pub(crate) fn expiry(&self) -> Expiry {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .expiry
    }

    /// The CAs that clients have to trust, in PEM; `None` where somebody else signed.
    pub(crate) fn ca_pem(&self) -> Option<String> {
        match &self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .source
        {
            Source::Own(own) => Some(own.ca_pem().to_owned()),
            Source::Shared(shared) => Some(shared.ca_pem()),
            Source::Files(_) => None,
        }
    }

    /// The CAs of `--tls secret` and how long certificates live; `None` in other modes.
    pub(crate) fn authorities(&self) -> Option<(Authorities, Lifetimes)> {
        self.shared(|shared| (shared.authorities().clone(), shared.lifetimes()))
    }

    /// The CAs of `--tls secret` are these from now on.
    pub(crate) fn adopt(&self, authorities: Authorities, now: SystemTime) -> Result<bool, Error> {
        self.shared(|shared| shared.adopt(authorities));
        self.refresh(now)
    }

    /// Every webhook configuration trusts these CAs: one of them may sign. True if the CA that signed the certificate in use is among them.
    pub(crate) fn published(&self, bundle: String, now: SystemTime) -> Result<bool, Error> {
        let trusted = bundle.clone();
        self.shared(|shared| shared.published(bundle));
        self.refresh(now)?;
        Ok(self.shared(|shared| trusted.contains(shared.signer_pem())) == Some(true))
    }

    fn shared<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> Option<T> {
        match &mut self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .source
        {
            Source::Shared(shared) => Some(act(shared)),
            Source::Own(_) | Source::Files(_) => None,
        }
    }

    /// The file that holds the CA, where there is one.
    pub(crate) fn ca_file(&self) -> Option<String> {
        match &self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .source
        {
            Source::Own(own) => own.ca_file(),
            Source::Files(_) | Source::Shared(_) => None,
        }
    }
}

impl Source {
    fn refresh(&mut self, now: SystemTime) -> Result<bool, Error> {
        match self {
            Self::Own(own) => own.refresh(now),
            Self::Files(files) => files.refresh(),
            Self::Shared(shared) => shared.refresh(now),
        }
    }
}

/// TLS 1.2 and 1.3, HTTP/1.1 only: the API server calls Services over HTTP/1.1, and what is not spoken cannot be abused.
fn config(source: &Source, clients: Option<&Clients>) -> Result<(ServerConfig, Expiry), Error> {
    let (identity, ca) = match source {
        Source::Own(own) => (own.identity(), Some(own.ca_until())),
        Source::Files(files) => (files.identity()?, None),
        Source::Shared(shared) => (shared.identity(), Some(shared.ca_until())),
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier()?),
        None => builder.with_no_client_auth(),
    };
    let Identity { chain, key } = identity;
    let leaf = issue::not_after(chain.first().map_or(&[], |leaf| leaf.as_ref()));
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((
        config,
        Expiry {
            leaf: leaf.unwrap_or(SystemTime::UNIX_EPOCH),
            ca,
        },
    ))
}

/// The one place that names the cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
