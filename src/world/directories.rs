//! Directories of patterns and context objects that are read again and again.
//!
//! Content is compared, not time stamps or inotify events: a kubelet swaps a mounted ConfigMap by renaming a symbolic link two
//! levels up, which a watch on the file never hears of. A file that breaks keeps what it held when it was last good, and every other
//! file loads as if nothing had happened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Item;
use crate::manifest::{self, Complaint};

/// Where the server finds what is not built in.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DirectoryArgs {
    /// Directory (or file) with Pattern objects, read again when it changes; repeatable
    #[arg(long, value_name = "DIR")]
    patterns: Vec<PathBuf>,
    /// Directory (or file) with Namespace, Pattern and `PatternBinding` objects, read again when it changes; repeatable. Objects that name no namespace are Outrigger's own
    #[arg(long, value_name = "DIR")]
    context: Vec<PathBuf>,
}

/// The directories, and what their files held when they were last good.
#[derive(Debug)]
pub(crate) struct Directories {
    roots: Vec<Root>,
    home: String,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    only_patterns: bool,
    files: BTreeMap<PathBuf, Kept>,
    /// Why the directory itself could not be read; its files are kept then.
    unreadable: Option<Complaint>,
}

/// One file: what it says, and what it last said that made sense.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    items: Vec<Item>,
    complaints: Vec<Complaint>,
}

impl Directories {
    /// Nothing is read yet.
    pub(crate) fn new(args: &DirectoryArgs, home: &str) -> Self {
        let DirectoryArgs { patterns, context } = args;
        let root = |only_patterns: bool| {
            move |path: &PathBuf| Root {
                path: path.clone(),
                only_patterns,
                files: BTreeMap::new(),
                unreadable: None,
            }
        };
        Self {
            roots: patterns
                .iter()
                .map(root(true))
                .chain(context.iter().map(root(false)))
                .collect(),
            home: home.to_owned(),
        }
    }

    /// Reads everything again; true if anything is not as it was, good or bad.
    pub(crate) fn refresh(&mut self) -> bool {
        let home = &self.home;
        let mut changed = false;
        for root in &mut self.roots {
            changed |= root.refresh(home);
        }
        changed
    }

    /// What the files hold, or last held while they were good.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.files().flat_map(|file| &file.items)
    }

    /// What is wrong, by root and file.
    pub(crate) fn complaints(&self) -> impl Iterator<Item = &Complaint> {
        self.roots.iter().flat_map(|root| {
            root.unreadable
                .iter()
                .chain(root.files.values().flat_map(|file| &file.complaints))
        })
    }

    /// How many files are good, and how many are not (a directory that cannot be read counts as one).
    pub(crate) fn count(&self) -> (usize, usize) {
        let unreadable = self
            .roots
            .iter()
            .filter(|root| root.unreadable.is_some())
            .count();
        let broken = self
            .files()
            .filter(|file| !file.complaints.is_empty())
            .count();
        (self.files().count() - broken, broken + unreadable)
    }

    fn files(&self) -> impl Iterator<Item = &Kept> {
        self.roots.iter().flat_map(|root| root.files.values())
    }
}

impl Root {
    fn refresh(&mut self, home: &str) -> bool {
        let found = match manifest::files(&self.path) {
            Ok(found) => found,
            Err(error) => {
                let complaint = Complaint {
                    place: String::new(),
                    message: format!("{error:#}; what it held before is kept"),
                };
                let known = self.unreadable.as_ref() == Some(&complaint);
                self.unreadable = Some(complaint);
                return !known;
            }
        };
        let mut changed = self.unreadable.take().is_some();
        let before = self.files.len();
        self.files.retain(|path, _| found.contains(path));
        changed |= self.files.len() != before;
        for path in found {
            let only_patterns = self.only_patterns;
            let file = self.files.entry(path.clone()).or_default();
            changed |= file.refresh(&path, only_patterns, home);
        }
        changed
    }
}

impl Kept {
    fn refresh(&mut self, path: &Path, only_patterns: bool, home: &str) -> bool {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let complaint = Complaint {
                    place: path.display().to_string(),
                    message: error.to_string(),
                };
                let known = self.complaints == [complaint.clone()];
                self.complaints = vec![complaint];
                // Read afresh once it can be read, even if nothing changed in between.
                self.bytes = Vec::new();
                return !known;
            }
        };
        if self.bytes == bytes && (self.complaints.is_empty() || !bytes.is_empty()) {
            return false;
        }
        self.bytes.clone_from(&bytes);
        match load(path, bytes, only_patterns, home) {
            Ok(items) => {
                self.items = items;
                self.complaints = Vec::new();
            }
            Err(complaints) => self.complaints = complaints,
        }
        true
    }
}

/// Every object of a file, or everything that is wrong with it.
fn load(
    path: &Path,
    bytes: Vec<u8>,
    only_patterns: bool,
    home: &str,
) -> Result<Vec<Item>, Vec<Complaint>> {
    let (documents, mut complaints) = manifest::parse(&path.display().to_string(), bytes);
    let mut items = Vec::new();
    for object in documents.iter().flat_map(manifest::objects) {
        match Item::load(&object, home) {
            Ok(item) if only_patterns && !matches!(item, Item::Pattern(_)) => complaints
                .push(object.complain(&[], "expected a Pattern; other objects go to `--context`")),
            Ok(item) => items.push(item),
            Err(faults) => complaints.extend(faults),
        }
    }
    if complaints.is_empty() {
        Ok(items)
    } else {
        Err(complaints)
    }
}
