//! A directory as a kubelet mounts a Secret or a `ConfigMap` (`pkg/volume/util/atomic_writer.go`).
//!
//! ```text
//!  tls.crt ─▶ ..data/tls.crt      ..data ─▶ ..2      ..2/tls.crt
//! ```
//!
//! Content changes when `..data` is renamed over; the links that people see stay as they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A mounted volume.
#[derive(Debug)]
pub(crate) struct Mount {
    directory: tempfile::TempDir,
    round: usize,
}

impl Mount {
    /// A volume with these files.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let mut mount = Self {
            directory: tempfile::tempdir().expect("a directory"),
            round: 0,
        };
        mount.swap(files);
        mount
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path of a file, as text.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    /// Exchanges the whole content at once.
    pub(crate) fn swap(&mut self, files: &[(&str, &str)]) {
        let old = self.round();
        self.round += 1;
        let new = self.round();
        fs::create_dir(&new).expect("a directory");
        for (name, text) in files {
            fs::write(new.join(name), text).expect("a file");
        }
        let (temporary, data) = (self.path().join("..data_tmp"), self.path().join("..data"));
        symlink(new.file_name().expect("a name"), &temporary).expect("a link");
        fs::rename(&temporary, &data).expect("the link is renamed");
        for (name, _) in files {
            let link = self.path().join(name);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(name), link).expect("a link");
            }
        }
        self.remove_stale();
        // There is none before the first round.
        let _ = fs::remove_dir_all(old);
    }

    /// Links to files that are gone.
    fn remove_stale(&self) {
        for entry in fs::read_dir(self.path()).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_symlink() && !path.exists() {
                fs::remove_file(path).expect("the link goes");
            }
        }
    }

    fn round(&self) -> PathBuf {
        self.path().join(format!("..{}", self.round))
    }
}
