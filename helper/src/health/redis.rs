//! Redis and Valkey: do they answer, are they what they should be, and how far behind.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::ensure;
use redis::cmd;

use super::config::{RedisRole, RedisSpec};
use crate::redis_server::{self, Link};

#[derive(Debug)]
pub(super) struct RedisCheck {
    link: Link,
    role: Option<RedisRole>,
    max_lag: Option<Duration>,
}

impl RedisCheck {
    pub(super) fn new(spec: &RedisSpec, timeout: Duration) -> anyhow::Result<Self> {
        let RedisSpec {
            url,
            user,
            password,
            ca_file,
            role,
            max_lag,
        } = spec;
        let password = password.get()?;
        let client =
            redis_server::client(url, user.as_deref(), password.as_ref(), ca_file.as_ref())?;
        // A little before the check's own deadline, so that a connection that hangs is dropped.
        Ok(Self {
            link: Link::within(client, timeout.mul_f64(0.9)),
            role: *role,
            max_lag: *max_lag,
        })
    }

    pub(super) async fn ask(&self) -> anyhow::Result<()> {
        self.link.ask::<()>(&cmd("PING")).await?;
        if self.role.is_none() && self.max_lag.is_none() {
            return Ok(());
        }
        let text: String = self.link.ask(cmd("INFO").arg("replication")).await?;
        self.judge(&text)
    }

    /// By what `INFO replication` says.
    fn judge(&self, text: &str) -> anyhow::Result<()> {
        let facts: HashMap<_, _> = text
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .collect();
        let fact = |name| facts.get(name).copied().unwrap_or_default();
        let role = if fact("role") == "master" {
            RedisRole::Primary
        } else {
            RedisRole::Replica
        };
        if let Some(expected) = self.role {
            ensure!(
                role == expected,
                "it is a {}, expected a {}",
                called(role),
                called(expected)
            );
        }
        if let Some(max_lag) = self.max_lag
            && role == RedisRole::Replica
        {
            ensure!(
                fact("master_link_status") == "up",
                "the link to the primary is {}",
                fact("master_link_status")
            );
            let lag: u64 = fact("master_last_io_seconds_ago")
                .parse()
                .unwrap_or(u64::MAX);
            ensure!(
                lag <= max_lag.as_secs(),
                "the primary was last heard of {lag} s ago, expected at most {max_lag:?}"
            );
        }
        Ok(())
    }
}

fn called(role: RedisRole) -> &'static str {
    match role {
        RedisRole::Primary => "primary",
        RedisRole::Replica => "replica",
    }
}
