//! A file: is it there, and how old is it.

use anyhow::{Context, ensure};

use super::config::FileSpec;

#[derive(Debug)]
pub(super) struct FileCheck {
    spec: FileSpec,
}

impl FileCheck {
    pub(super) fn new(spec: FileSpec) -> Self {
        Self { spec }
    }

    /// Local files: nothing here takes long.
    pub(super) fn ask(&self) -> anyhow::Result<()> {
        let FileSpec { path, younger_than } = &self.spec;
        let file = std::fs::metadata(path).with_context(|| format!("`{}`", path.display()))?;
        if let Some(limit) = younger_than {
            // One that is changed in the future is young.
            let age = file.modified()?.elapsed().unwrap_or_default();
            ensure!(
                age < *limit,
                "`{}` was last changed {} s ago, expected less than {limit:?}",
                path.display(),
                age.as_secs()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_is_there_and_young() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let check = |younger_than| {
            FileCheck::new(FileSpec {
                path: file.path().to_owned(),
                younger_than,
            })
        };
        assert!(check(None).ask().is_ok());
        assert!(check(Some(Duration::from_hours(1))).ask().is_ok());
        file.as_file()
            .set_modified(std::time::SystemTime::now() - Duration::from_hours(2))
            .expect("a time");
        let said = check(Some(Duration::from_hours(1)))
            .ask()
            .expect_err("too old")
            .to_string();
        assert!(
            said.ends_with("was last changed 7200 s ago, expected less than 3600s"),
            "{said}"
        );
    }
}
