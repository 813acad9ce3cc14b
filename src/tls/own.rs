//! A CA and a certificate of our own, for a server that runs alone: in memory, or with the CA in a directory so that clients can pin it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use rustls::pki_types::PrivateKeyDer;

use super::issue::{Ca, LEAF_LIFE, Leaf, check_name};
use super::{Error, Identity};

/// The names that every client on this machine may use.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// A leaf is renewed once a third of its life is left.
const RENEW_BEFORE: Duration = Duration::from_secs(LEAF_LIFE.as_secs() / 3);

/// What goes into a certificate of our own.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OwnArgs {
    /// Directory that keeps the CA (`ca.pem`, `ca-key.pem`), so that it is the same after a restart; made if it is missing. For `--tls self`
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Further DNS name or IP address in the certificate, besides `localhost`; repeatable. For `--tls self`
    #[arg(long, value_name = "NAME")]
    tls_name: Vec<String>,
}

impl OwnArgs {
    pub(super) fn given(&self) -> bool {
        self.state_dir.is_some() || !self.tls_name.is_empty()
    }
}

/// The CA, and the leaf in use.
#[derive(Debug)]
pub(super) struct Own {
    names: Vec<String>,
    directory: Option<PathBuf>,
    ca: Ca,
    leaf: Leaf,
}

impl Own {
    pub(super) fn load(args: &OwnArgs, now: SystemTime) -> Result<Self, Error> {
        let names: Vec<String> = LOCAL_NAMES
            .iter()
            .map(|name| (*name).to_owned())
            .chain(args.tls_name.iter().cloned())
            .collect();
        names.iter().try_for_each(|name| check_name(name))?;
        let ca = match &args.state_dir {
            Some(directory) => Ca::keep(directory, now)?,
            None => Ca::issue(now)?,
        };
        Ok(Self {
            leaf: ca.sign(&names, now)?,
            directory: args.state_dir.clone(),
            names,
            ca,
        })
    }

    /// Renews the leaf when it is due.
    pub(super) fn refresh(&mut self, now: SystemTime) -> Result<bool, Error> {
        let due = self.leaf.until < now + RENEW_BEFORE && self.leaf.until < self.ca.until;
        if due {
            self.leaf = self.ca.sign(&self.names, now)?;
        }
        Ok(due)
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            chain: vec![self.leaf.der.clone()],
            key: PrivateKeyDer::Pkcs8(self.leaf.key.serialize_der().into()),
        }
    }

    pub(super) fn ca_pem(&self) -> &str {
        &self.ca.pem
    }

    pub(super) fn ca_until(&self) -> SystemTime {
        self.ca.until
    }

    pub(super) fn ca_file(&self) -> Option<String> {
        let directory = self.directory.as_ref()?;
        Some(directory.join("ca.pem").display().to_string())
    }
}
