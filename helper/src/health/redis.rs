//! Redis and Valkey: do they answer, are they what they should be, and how far behind.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::ensure;
use redis::{RedisResult, cmd};
use tokio::sync::Mutex;

use super::config::{RedisRole, RedisSpec};
use crate::redis_server::{self, Link};

#[derive(Debug)]
pub(super) struct RedisCheck {
    spec: RedisSpec,
    timeout: Duration,
    /// Kept from one question to the next; it is taken out while it is used, so that one that hangs is gone.
    link: Mutex<Option<Link>>,
}

impl RedisCheck {
    pub(super) fn new(spec: RedisSpec, timeout: Duration) -> anyhow::Result<Self> {
        let check = Self {
            spec,
            timeout,
            link: Mutex::default(),
        };
        check.link()?;
        Ok(check)
    }

    /// With the password that the file has now.
    fn link(&self) -> anyhow::Result<Link> {
        let RedisSpec {
            url,
            user,
            password,
            ca_file,
            ..
        } = &self.spec;
        let password = password.get()?;
        let client =
            redis_server::client(url, user.as_deref(), password.as_ref(), ca_file.as_ref())?;
        Ok(Link::within(client, self.timeout))
    }

    pub(super) async fn ask(&self) -> anyhow::Result<()> {
        let mut slot = self.link.lock().await;
        // One that the server has closed meanwhile says nothing about the server now.
        if let Some(link) = slot.take()
            && let Ok(text) = self.look(&link).await
        {
            *slot = Some(link);
            return self.judge(&text);
        }
        let link = self.link()?;
        let text = self.look(&link).await?;
        *slot = Some(link);
        self.judge(&text)
    }

    /// What `INFO replication` says, where that is asked for.
    async fn look(&self, link: &Link) -> RedisResult<String> {
        link.ask::<()>(&cmd("PING")).await?;
        if self.spec.role.is_none() && self.spec.max_lag.is_none() {
            return Ok(String::new());
        }
        link.ask(cmd("INFO").arg("replication")).await
    }

    /// By what `INFO replication` says.
    fn judge(&self, text: &str) -> anyhow::Result<()> {
        let RedisSpec {
            role: expected,
            max_lag,
            ..
        } = &self.spec;
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
        if let Some(expected) = expected {
            ensure!(
                role == *expected,
                "it is a {}, expected a {}",
                called(role),
                called(*expected)
            );
        }
        if let Some(max_lag) = max_lag
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
