//! The context that the command line gives to `inject`: what the cluster would know, read from files.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::catalog::{Catalog, Namespace};
use crate::keys;
use crate::manifest::{self, Complaint};
use crate::world::Item;

/// What is known besides the manifests.
#[derive(Debug, Args)]
pub(super) struct WorldArgs {
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Files or directories with Namespace, Pattern and PatternBinding objects; those that name no namespace are Outrigger's own
    #[arg(long, value_name = "FILE", num_args = 1..)]
    context: Vec<PathBuf>,
    /// Outrigger's own namespace, whose patterns are everybody's and whose bindings are for the cluster
    #[arg(long, value_name = "NAME", default_value = keys::HOME_NAMESPACE)]
    home: String,
    /// Registry that every pattern's images are pulled from instead of their own
    #[arg(long, value_name = "HOST[/PATH]")]
    image_registry: Option<String>,
}

impl WorldArgs {
    /// The namespace of objects that name none.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where images come from instead.
    pub(super) fn image_registry(&self) -> Option<&str> {
        self.image_registry.as_deref()
    }
}

/// The world, and the namespace of objects that name none.
pub(super) struct World {
    world: crate::world::World,
    default: String,
}

impl World {
    /// Reads the context; the inner error lists what is wrong with the objects.
    pub(super) fn read(args: &WorldArgs) -> anyhow::Result<Result<Self, Vec<Complaint>>> {
        let WorldArgs {
            namespace,
            context,
            home,
            image_registry,
        } = args;
        let mut catalog = Catalog::at(home);
        catalog.image_registry.clone_from(image_registry);
        let mut world = crate::world::World::of(catalog);
        let documents = match manifest::read(context)? {
            Ok(documents) => documents,
            Err(complaints) => return Ok(Err(complaints)),
        };
        let mut complaints = Vec::new();
        for object in documents.iter().flat_map(manifest::objects) {
            match Item::load(&object, home) {
                Ok(item) => world.add(item),
                Err(faults) => complaints.extend(faults),
            }
        }
        Ok(if complaints.is_empty() {
            Ok(Self {
                world,
                default: namespace.clone(),
            })
        } else {
            Err(complaints)
        })
    }

    /// Patterns and bindings.
    pub(super) fn catalog(&self) -> &Catalog {
        &self.world.catalog
    }

    /// The namespace of an object: its own, else the one given on the command line.
    pub(super) fn namespace_of(&self, object: &Value) -> Namespace {
        self.world
            .namespace(own_namespace(object).unwrap_or(&self.default))
            .into_owned()
    }

    /// The name of the namespace given on the command line.
    pub(super) fn default_namespace(&self) -> &str {
        &self.default
    }
}

fn own_namespace(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("namespace")?.as_str()
}
