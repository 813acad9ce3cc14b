//! What the file of checks may say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Deserializer};

use crate::settings::{self, Secret};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Config {
    pub(super) checks: Vec<CheckSpec>,
    /// For checks without their own: the whole check, connecting included.
    #[serde(default = "timeout", deserialize_with = "duration")]
    pub(super) timeout: Duration,
    /// For checks without their own: how long an answer is good for.
    #[serde(default = "cache", deserialize_with = "duration")]
    pub(super) cache: Duration,
    /// Where the files of passwords and certificate authorities are, if their paths do not begin with `/`.
    #[serde(default)]
    pub(super) directory: PathBuf,
}

/// One check: a name, its times, and exactly one of the kinds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CheckSpec {
    pub(super) name: String,
    #[serde(default, deserialize_with = "some_duration")]
    pub(super) timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    pub(super) cache: Option<Duration>,
    pub(super) mysql: Option<SqlSpec>,
    pub(super) postgres: Option<SqlSpec>,
    pub(super) redis: Option<RedisSpec>,
    pub(super) http: Option<HttpSpec>,
    pub(super) tcp: Option<TcpSpec>,
    pub(super) grpc: Option<GrpcSpec>,
    pub(super) file: Option<FileSpec>,
}

impl CheckSpec {
    /// Finds its files in `directory`.
    pub(super) fn locate(&mut self, directory: &Path) {
        let Self {
            name: _,
            timeout: _,
            cache: _,
            mysql,
            postgres,
            redis,
            http,
            tcp: _,
            grpc: _,
            file: _,
        } = self;
        let sql = mysql.iter_mut().chain(postgres);
        let sql = sql.flat_map(|sql| [&mut sql.password.password_file, &mut sql.ca_file]);
        let redis = redis
            .iter_mut()
            .flat_map(|redis| [&mut redis.password.password_file, &mut redis.ca_file]);
        let http = http.iter_mut().map(|http| &mut http.ca_file);
        for path in sql.chain(redis).chain(http).flatten() {
            // An absolute path stays what it is.
            *path = directory.join(&path);
        }
    }
}

/// A query that stands for real work.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SqlSpec {
    /// `host:port`.
    pub(super) address: String,
    pub(super) user: String,
    #[serde(default)]
    pub(super) database: String,
    #[serde(default = "select")]
    pub(super) query: String,
    #[serde(default = "one")]
    pub(super) min_rows: u32,
    /// The first column of the first row, as text.
    pub(super) expect: Option<String>,
    #[serde(flatten)]
    pub(super) password: Password,
    /// `verify` where there is a certificate authority, else `prefer`, if it is left out.
    tls: Option<TlsMode>,
    /// Certificate authority in PEM, for `verify`; the public ones without it.
    pub(super) ca_file: Option<PathBuf>,
}

impl SqlSpec {
    pub(super) fn tls(&self) -> TlsMode {
        self.tls.unwrap_or(match self.ca_file {
            Some(_) => TlsMode::Verify,
            None => TlsMode::Prefer,
        })
    }
}

/// How far a database's TLS is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TlsMode {
    Disable,
    /// If the server offers it; nobody is verified.
    Prefer,
    /// Nobody is verified.
    Require,
    Verify,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RedisSpec {
    /// `redis://host:port` or `rediss://`.
    pub(super) url: String,
    pub(super) user: Option<String>,
    #[serde(flatten)]
    pub(super) password: Password,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) role: Option<RedisRole>,
    /// For a replica: how long ago it may have heard of its primary.
    #[serde(default, deserialize_with = "some_duration")]
    pub(super) max_lag: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RedisRole {
    Primary,
    Replica,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpSpec {
    pub(super) url: String,
    /// Any status from 200 to 399 without it, as for the kubelet.
    pub(super) status: Option<u16>,
    /// Text that the first megabyte of the body must have.
    pub(super) contains: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TcpSpec {
    /// `host:port`.
    pub(super) address: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GrpcSpec {
    /// `host:port`.
    pub(super) address: String,
    /// As `grpc.health.v1` has it; empty for the server as a whole.
    #[serde(default)]
    pub(super) service: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileSpec {
    pub(super) path: PathBuf,
    /// Since its last change.
    #[serde(default, deserialize_with = "some_duration")]
    pub(super) younger_than: Option<Duration>,
}

/// Where a password is; never the password.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Password {
    /// Read anew for each connection.
    password_file: Option<PathBuf>,
    /// Name of an environment variable.
    password_env: Option<String>,
}

impl Password {
    pub(super) fn get(&self) -> anyhow::Result<Option<Secret>> {
        ensure!(
            self.password_file.is_none() || self.password_env.is_none(),
            "expected `passwordFile` or `passwordEnv`, not both"
        );
        if let Some(file) = &self.password_file {
            return Secret::read(file).map(Some);
        }
        let Some(name) = &self.password_env else {
            return Ok(None);
        };
        let text = std::env::var(name)
            .ok()
            .with_context(|| format!("no password in the environment variable `{name}`"))?;
        Ok(text.parse().ok())
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    settings::duration(&text).map_err(serde::de::Error::custom)
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn timeout() -> Duration {
    Duration::from_secs(2)
}

fn cache() -> Duration {
    Duration::from_secs(1)
}

fn select() -> String {
    "SELECT 1".to_owned()
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        serde_json::from_str::<Config>(text)
            .expect_err("a fault")
            .to_string()
    }

    #[test]
    fn what_is_misspelt_is_told() {
        assert_eq!(
            fault(
                r#"{"checks": [{"name": "db", "mysql": {"address": "a:1", "user": "u", "passwordfile": "f"}}]}"#
            ),
            "unknown field `passwordfile` at line 1 column 88"
        );
        assert_eq!(
            fault(r#"{"checks": [{"name": "db", "timeout": "2"}]}"#),
            "expected a duration above zero such as 500ms, 2s or 1h30m, not `2` at line 1 column 42"
        );
    }
}
