//! Keeping what requests see fresh: directories and certificates, read again every other second. What is broken changes nothing but the
//! report of it: a log line, a metric, and a line of `/readyz?verbose`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use clap::Args;

use super::health::{Check, Health};
use super::metrics::{Metrics, Reread};
use crate::catalog::Catalog;
use crate::cluster::objects::{Kind, Objects};
use crate::keys;
use crate::tls::{Expiry, Tls};
use crate::world::World;
use crate::world::directories::{Directories, DirectoryArgs};

/// How often. A kubelet takes a minute to change a mounted file; a person who edits a pattern looks up sooner.
pub(super) const PERIOD: Duration = Duration::from_secs(2);
/// A certificate that ends this soon is worth a word, where it is not ours to renew.
const SOON: Duration = Duration::from_hours(7 * 24);

/// What the world is made of.
#[derive(Debug, Clone, Args)]
pub(super) struct WorldArgs {
    #[command(flatten)]
    directories: DirectoryArgs,
    /// Outrigger's own namespace, whose patterns are everybody's and whose bindings are for the cluster
    #[arg(long, value_name = "NAME", default_value = keys::HOME_NAMESPACE)]
    pub(super) home: String,
    /// Let the bindings of Outrigger's own namespace apply to every namespace
    #[arg(long)]
    pub(super) cluster_wide: bool,
    /// Registry that every pattern's images are pulled from instead of their own
    #[arg(long, value_name = "HOST[/PATH]")]
    image_registry: Option<String>,
}

/// The world as directories and cluster describe it, kept fresh.
#[derive(Debug)]
pub(super) struct Configuration {
    args: WorldArgs,
    directories: Directories,
    objects: Option<Arc<Objects>>,
    /// What is wrong, as last said.
    notes: Vec<String>,
}

impl Configuration {
    /// Reads everything for the first time. Broken files are reported like later ones: the rest is served.
    pub(super) fn load(args: &WorldArgs, objects: Option<Arc<Objects>>) -> Self {
        let mut directories = Directories::new(&args.directories, &args.home);
        directories.refresh();
        Self {
            args: args.clone(),
            directories,
            objects,
            notes: Vec::new(),
        }
    }

    /// The world of what is good now, or was when it was last good.
    pub(super) fn world(&self) -> World {
        let WorldArgs {
            home,
            cluster_wide,
            image_registry,
            ..
        } = &self.args;
        let mut catalog = Catalog::at(home);
        catalog.cluster_wide = *cluster_wide;
        catalog.image_registry.clone_from(image_registry);
        let mut world = World::of(catalog);
        self.directories
            .items()
            .for_each(|item| world.add(item.clone()));
        if let Some(objects) = &self.objects {
            world.is_live = true;
            objects.items().into_iter().for_each(|item| world.add(item));
        }
        world
    }

    /// Reads again, exchanges the world if anything changed, and reports.
    pub(super) fn refresh(&mut self, world: &ArcSwap<World>, metrics: &Metrics, health: &Health) {
        let objects = self.objects.as_deref();
        let heard = objects.is_some_and(Objects::take_changed);
        let changed = self.directories.refresh() || heard;
        if changed {
            world.store(self.world().into());
            let world = world.load();
            if let Some(objects) = objects {
                objects.judge(&world.catalog);
            }
            self.report(&world, metrics, health);
        }
        let good = self.directories.complaints().next().is_none();
        metrics.reread(Reread::Configuration, good, changed, SystemTime::now());
    }

    /// Says what is broken, each thing once.
    pub(super) fn report(&mut self, world: &World, metrics: &Metrics, health: &Health) {
        let (good, broken) = self.directories.count();
        metrics.files(good, broken);
        let objects = self.objects.as_deref();
        let mut notes: Vec<String> = self
            .directories
            .complaints()
            .map(ToString::to_string)
            .chain(objects.map(Objects::broken).unwrap_or_default())
            .collect();
        for kind in Kind::ALL {
            let (good, broken) = objects.map_or((0, 0), |objects| objects.count(kind));
            metrics.objects(kind.name(), good, broken);
            let generation = objects.map_or(0, |objects| objects.generation(kind));
            metrics.generation(kind.name(), generation);
        }
        // In a cluster each of them is told so itself.
        if !world.is_live && world.catalog.has_idle_bindings() {
            notes.push(format!(
                "bindings of namespace `{}` do nothing without `--cluster-wide`",
                self.args.home
            ));
        }
        for note in notes.iter().filter(|note| !self.notes.contains(note)) {
            tracing::warn!("{note}");
        }
        if notes.is_empty() && !self.notes.is_empty() {
            tracing::info!("nothing is wrong with the configuration any more");
        }
        self.notes.clone_from(&notes);
        health.set(
            "configuration",
            Check {
                failure: None,
                notes,
            },
        );
    }
}

/// The certificate in use, and the last thing that was wrong with the next one.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    fault: Option<String>,
}

impl Certificates {
    /// Reads again, renews what is due, and reports.
    pub(super) fn refresh(
        &mut self,
        tls: &Tls,
        metrics: &Metrics,
        health: &Health,
        now: SystemTime,
    ) {
        let (changed, fault) = match tls.refresh(now) {
            Ok(changed) => (changed, None),
            Err(error) => (
                self.fault.is_none(),
                Some(format!("{:#}", anyhow::Error::from(error))),
            ),
        };
        let Expiry { leaf, ca } = tls.expiry();
        if changed && fault.is_none() {
            tracing::info!("certificate exchanged");
        }
        if fault != self.fault {
            if let Some(fault) = &fault {
                tracing::warn!("the certificate in use is kept: {fault}");
            }
            self.fault.clone_from(&fault);
        }
        metrics.reread(Reread::Certificate, fault.is_none(), changed, now);
        metrics.certificate("leaf", leaf);
        if let Some(ca) = ca {
            metrics.certificate("ca", ca);
        }
        health.set("certificate", check(leaf, ca.is_some(), fault, now));
    }
}

fn check(leaf: SystemTime, is_ours: bool, fault: Option<String>, now: SystemTime) -> Check {
    let left = leaf.duration_since(now).unwrap_or_default();
    let mut notes: Vec<String> = fault
        .map(|fault| format!("the certificate in use is kept: {fault}"))
        .into_iter()
        .collect();
    if !is_ours && !left.is_zero() && left < SOON {
        notes.push(format!(
            "the certificate ends in {} hours",
            left.as_secs() / 3600
        ));
    }
    Check {
        failure: left
            .is_zero()
            .then(|| "the certificate has expired".to_owned()),
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_certificate_is_a_failure_and_an_old_one_a_note() {
        let now = SystemTime::now();
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(check(now + hours(1000), false, None, now), Check::default());
        assert_eq!(check(now + hours(5), true, None, now), Check::default());
        assert_eq!(
            check(now + hours(5), false, None, now).notes,
            ["the certificate ends in 5 hours"]
        );
        assert_eq!(
            check(now - hours(1), true, None, now).failure.as_deref(),
            Some("the certificate has expired")
        );
    }
}
