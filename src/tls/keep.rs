//! A CA in a directory: read where there is one, issued and written where there is none.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;
use super::issue::{CA_LIFE, Ca, LEAF_LIFE};

impl Ca {
    /// The CA in `directory`; a new one where there is none, or where the old one is about to end.
    pub(crate) fn keep(directory: &Path, now: SystemTime) -> Result<Self, Error> {
        let (certificate, key) = (directory.join("ca.pem"), directory.join("ca-key.pem"));
        if certificate.exists() || key.exists() {
            let found = read(&certificate, &key)?;
            if found.until > now + LEAF_LIFE {
                return Ok(found);
            }
        }
        let ca = Self::issue(now, CA_LIFE)?;
        fs::create_dir_all(directory).map_err(|source| file_error(directory, source))?;
        write(&key, &ca.key_pem(), 0o600)?;
        write(&certificate, &ca.pem, 0o644)?;
        Ok(ca)
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Ca, Error> {
    let text = |path: &Path| fs::read_to_string(path).map_err(|source| file_error(path, source));
    let read = || Ca::read(text(certificate)?, &text(key)?);
    read().map_err(|error| Error::Content {
        path: format!("{} and {}", certificate.display(), key.display()),
        problem: format!(
            "{:#}; remove both to get a new CA",
            anyhow::Error::from(error)
        ),
    })
}

/// Writes a file whole or not at all, never readable by more than `mode` says.
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // A mode is for a new file only: what a run that was cut short left behind has its own.
    let _ = fs::remove_file(&temporary);
    let result = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, path));
    result.map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_is_kept_and_its_key_is_nobody_elses() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("deep/er");
        let now = SystemTime::now();
        let first = Ca::keep(&place, now).unwrap();
        assert_eq!(Ca::keep(&place, now).unwrap().pem, first.pem);
        let metadata = fs::metadata(place.join("ca-key.pem")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        // About to end: a new one.
        let late = first.until - LEAF_LIFE / 2;
        assert_ne!(Ca::keep(&place, late).unwrap().pem, first.pem);
        fs::remove_file(place.join("ca.pem")).unwrap();
        let error = Ca::keep(&place, now).unwrap_err().to_string();
        let end = "ca.pem: No such file or directory (os error 2); remove both to get a new CA";
        assert!(error.ends_with(end), "{error}");
    }
}
