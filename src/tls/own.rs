//! A CA and a certificate of our own, for a server that runs alone: in memory, or with the CA in a directory so that clients can pin it.

use std::path::PathBuf;
use std::time::SystemTime;

use super::issue::{CA_LIFE, Ca, LEAF_LIFE, Leaf, check_name};
use super::{Error, Identity};
use clap::Args;

/// The names that every client on this machine may use.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

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
            None => Ca::issue(now, CA_LIFE)?,
        };
        Ok(Self {
            leaf: ca.sign(&names, now, LEAF_LIFE)?,
            directory: args.state_dir.clone(),
            names,
            ca,
        })
    }

    /// Renews the leaf when it is due.
    pub(super) fn refresh(&mut self, now: SystemTime) -> Result<bool, Error> {
        let due = self.leaf.is_due(now) && self.leaf.until < self.ca.until;
        if due {
            self.leaf = self.ca.sign(&self.names, now, LEAF_LIFE)?;
        }
        Ok(due)
    }

    pub(super) fn identity(&self) -> Identity {
        self.leaf.identity()
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
