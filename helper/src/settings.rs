//! What settings' texts become. A bad value is one sentence, which clap puts beside the setting's name.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;

/// A duration above zero as Kubernetes and Go write it: `500ms`, `2s`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected =
        || format!("expected a duration above zero such as 500ms, 2s or 1h30m, not `{text}`");
    let parsed = kube::core::Duration::from_str(text).map_err(|_| expected())?;
    let duration = Duration::from(parsed);
    // Longer ones overflow clocks.
    let sane =
        !parsed.is_negative() && !duration.is_zero() && duration <= Duration::from_hours(24 * 365);
    sane.then_some(duration).ok_or_else(expected)
}

/// A secret: by value from the environment, or read from a file. It is never shown.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// The file's text without the line break that editors put at its end.
    pub(crate) fn read(file: &PathBuf) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read `{}`", file.display()))?;
        Ok(Self(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// The Pod's name: `POD_NAME`, else the host's name, which is the same in a Pod without a `hostname` of its own.
pub(crate) fn pod_name() -> anyhow::Result<String> {
    if let Ok(name) = std::env::var("POD_NAME")
        && !name.is_empty()
    {
        return Ok(name);
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("`POD_NAME` is not set, and the host's name cannot be read")?;
    Ok(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
        for bad in ["", "5", "-1s", "0s", "abc", "99999999h", "1s "] {
            assert_eq!(
                duration(bad),
                Err(format!(
                    "expected a duration above zero such as 500ms, 2s or 1h30m, not `{bad}`"
                ))
            );
        }
    }
}
