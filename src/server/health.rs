//! Readiness by named checks, and what is amiss although the server is ready.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::cluster::Standing;

/// The checks, by name; `/readyz?verbose` lists them.
#[derive(Debug)]
pub(crate) struct Health {
    checks: Mutex<BTreeMap<&'static str, Check>>,
}

impl From<Standing> for Check {
    fn from(Standing { failure, notes }: Standing) -> Self {
        Self { failure, notes }
    }
}

/// One check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Check {
    /// Why the server must get no requests.
    pub(crate) failure: Option<String>,
    /// What is wrong, and does not keep anybody from working.
    pub(crate) notes: Vec<String>,
}

/// The name of the check that fails once the server is asked to stop.
const SHUTDOWN: &str = "shutdown";

impl Health {
    /// Only `shutdown`, and that is fine.
    pub(crate) fn new() -> Self {
        Self {
            checks: Mutex::new([(SHUTDOWN, Check::default())].into()),
        }
    }

    /// Replaces one check's state.
    pub(crate) fn set(&self, name: &'static str, check: Check) {
        self.checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, check);
    }

    /// Not ready any more, for good.
    pub(crate) fn stopping(&self) {
        self.set(
            SHUTDOWN,
            Check {
                failure: Some("the server is stopping".to_owned()),
                notes: Vec::new(),
            },
        );
    }

    /// Whether requests may come, and the checks as the API server's own `/readyz?verbose` words them.
    pub(crate) fn report(&self) -> (bool, String) {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = checks.values().all(|check| check.failure.is_none());
        let mut text = String::new();
        for (name, Check { failure, notes }) in &*checks {
            // Writing to a String does not fail.
            let _ = match failure {
                None => writeln!(text, "[+]{name} ok"),
                Some(failure) => writeln!(text, "[-]{name} failed: {failure}"),
            };
            for note in notes {
                let _ = writeln!(text, "   {note}");
            }
        }
        text.push_str(if ready {
            "readyz check passed\n"
        } else {
            "readyz check failed\n"
        });
        (ready, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_no_failure() {
        let health = Health::new();
        let broken = Check {
            notes: vec!["p.yaml:3:1: no".to_owned()],
            ..Check::default()
        };
        health.set("configuration", broken);
        assert_eq!(
            health.report(),
            (
                true,
                "[+]configuration ok\n   p.yaml:3:1: no\n[+]shutdown ok\nreadyz check passed\n"
                    .to_owned()
            )
        );
        health.stopping();
        let (ready, text) = health.report();
        assert!(!ready);
        assert!(
            text.ends_with("[-]shutdown failed: the server is stopping\nreadyz check failed\n")
        );
    }
}
