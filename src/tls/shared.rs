//! A leaf in memory, signed by a CA that all replicas share: each replica has its own, none is ever written down.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::authority::{Authorities, Lifetimes};
use super::issue::{Leaf, check_name};
use super::{Error, Identity};
use crate::text::duration;

/// How long certificates of a shared CA live.
#[derive(Debug, Clone, Args)]
pub(crate) struct SharedArgs {
    /// How long a CA lives; the next one is trusted once two thirds of it are over. For `--tls secret`
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = lifetime)]
    ca_lifetime: Duration,
    /// How long a certificate lives, at most a sixth of the CA's life. For `--tls secret`
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = lifetime)]
    leaf_lifetime: Duration,
}

/// A century: a certificate's dates end with the year 9999.
const LONGEST: Duration = Duration::from_hours(876_000);

fn lifetime(text: &str) -> Result<Duration, String> {
    duration(text)
        .filter(|lifetime| *lifetime <= LONGEST)
        .ok_or_else(|| "expected a duration such as `8760h` or `90s`, at most 876000h".to_owned())
}

impl Default for SharedArgs {
    fn default() -> Self {
        Self {
            ca_lifetime: Duration::from_hours(8760),
            leaf_lifetime: Duration::from_hours(168),
        }
    }
}

impl SharedArgs {
    pub(super) fn given(&self) -> bool {
        let Self {
            ca_lifetime,
            leaf_lifetime,
        } = Self::default();
        self.ca_lifetime != ca_lifetime || self.leaf_lifetime != leaf_lifetime
    }

    fn lifetimes(&self) -> Result<Lifetimes, Error> {
        let Self {
            ca_lifetime: ca,
            leaf_lifetime: leaf,
        } = *self;
        if leaf < Duration::from_secs(3) || ca < leaf * 6 {
            return Err(Error::Arguments(format!(
                "`--leaf-lifetime` is {leaf:?} and `--ca-lifetime` {ca:?}: expected at least 3s, and at least six times as much"
            )));
        }
        Ok(Lifetimes { ca, leaf })
    }
}

/// The CAs as last seen, and the leaf in use.
#[derive(Debug)]
pub(super) struct Shared {
    names: Vec<String>,
    lifetimes: Lifetimes,
    authorities: Authorities,
    /// What the API server trusts, as far as is known.
    published: String,
    leaf: Leaf,
}

impl Shared {
    /// With a CA that is nobody else's yet: a candidate for the Secret.
    pub(super) fn load(
        args: &SharedArgs,
        names: &[String],
        now: SystemTime,
    ) -> Result<Self, Error> {
        let lifetimes = args.lifetimes()?;
        names.iter().try_for_each(|name| check_name(name))?;
        let authorities = Authorities::issue(now, lifetimes)?;
        let leaf = sign(&authorities, "", names, lifetimes, now)?;
        Ok(Self {
            names: names.to_vec(),
            lifetimes,
            authorities,
            published: String::new(),
            leaf,
        })
    }

    pub(super) fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    pub(super) fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    /// The CAs are these from now on.
    pub(super) fn adopt(&mut self, authorities: Authorities) {
        self.authorities = authorities;
    }

    /// Every webhook configuration trusts this.
    pub(super) fn published(&mut self, bundle: String) {
        self.published = bundle;
    }

    /// Renews the leaf when it is due, or when another CA signs, or when its own is gone.
    pub(super) fn refresh(&mut self, now: SystemTime) -> Result<bool, Error> {
        let signer = self
            .authorities
            .signer(now, self.lifetimes, &self.published);
        let due = signer.is_none_or(|ca| {
            self.leaf.issuer != ca.pem || self.leaf.is_due(now) && self.leaf.until < ca.until
        });
        if due {
            self.leaf = sign(
                &self.authorities,
                &self.published,
                &self.names,
                self.lifetimes,
                now,
            )?;
        }
        Ok(due)
    }

    pub(super) fn identity(&self) -> Identity {
        self.leaf.identity()
    }

    pub(super) fn ca_pem(&self) -> String {
        self.authorities.bundle()
    }

    /// The CA that signed the leaf in use.
    pub(super) fn signer_pem(&self) -> &str {
        &self.leaf.issuer
    }

    pub(super) fn ca_until(&self) -> SystemTime {
        self.leaf.issuer_until
    }
}

fn sign(
    authorities: &Authorities,
    published: &str,
    names: &[String],
    lifetimes: Lifetimes,
    now: SystemTime,
) -> Result<Leaf, Error> {
    authorities
        .signer(now, lifetimes, published)
        .ok_or_else(|| Error::Arguments("there is no CA".to_owned()))?
        .sign(names, now, lifetimes.leaf)
}
