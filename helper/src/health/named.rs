//! A check with a name: asked by one at a time, within its deadline, and answered from memory for a while.

use std::time::Duration;

use anyhow::bail;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::config::CheckSpec;
use super::file::FileCheck;
use super::grpc::GrpcCheck;
use super::http::HttpCheck;
use super::redis::RedisCheck;
use super::sql::SqlCheck;
use super::tcp::TcpCheck;

#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    timeout: Duration,
    cache: Duration,
    kind: Kind,
    last: Mutex<Option<(Instant, Verdict)>>,
}

/// How a check went.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) took: Duration,
    /// Why it is not ok.
    pub(super) failure: Option<String>,
}

#[derive(Debug)]
enum Kind {
    Sql(Box<SqlCheck>),
    Redis(Box<RedisCheck>),
    Http(Box<HttpCheck>),
    Tcp(TcpCheck),
    Grpc(Box<GrpcCheck>),
    File(FileCheck),
}

impl Named {
    /// Everything that can be known before the first question is checked here.
    pub(super) fn new(spec: CheckSpec, timeout: Duration, cache: Duration) -> anyhow::Result<Self> {
        let CheckSpec {
            name,
            timeout: own_timeout,
            cache: own_cache,
            mysql,
            postgres,
            redis,
            http,
            tcp,
            grpc,
            file,
        } = spec;
        let (timeout, cache) = (own_timeout.unwrap_or(timeout), own_cache.unwrap_or(cache));
        let kind = match (mysql, postgres, redis, http, tcp, grpc, file) {
            (Some(spec), None, None, None, None, None, None) => {
                Kind::Sql(Box::new(SqlCheck::mysql(spec, timeout)?))
            }
            (None, Some(spec), None, None, None, None, None) => {
                Kind::Sql(Box::new(SqlCheck::postgres(spec, timeout)?))
            }
            (None, None, Some(spec), None, None, None, None) => {
                Kind::Redis(Box::new(RedisCheck::new(spec, timeout)?))
            }
            (None, None, None, Some(spec), None, None, None) => {
                Kind::Http(Box::new(HttpCheck::new(spec, timeout)?))
            }
            (None, None, None, None, Some(spec), None, None) => Kind::Tcp(TcpCheck::new(spec)?),
            (None, None, None, None, None, Some(spec), None) => {
                Kind::Grpc(Box::new(GrpcCheck::new(spec)?))
            }
            (None, None, None, None, None, None, Some(spec)) => Kind::File(FileCheck::new(spec)),
            _ => bail!("expected exactly one of mysql, postgres, redis, http, tcp, grpc, file"),
        };
        Ok(Self {
            name,
            timeout,
            cache,
            kind,
            last: Mutex::default(),
        })
    }

    /// A verdict and its age. `told` hears of each new one.
    pub(super) async fn verdict(&self, told: impl FnOnce(&Verdict)) -> (Verdict, Duration) {
        // Whoever comes while one asks waits for that answer, and takes it however short answers are kept.
        let came = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((at, verdict)) = &*last
            && (at.elapsed() < self.cache || *at > came)
        {
            return (verdict.clone(), at.elapsed());
        }
        let start = Instant::now();
        let failure = match timeout(self.timeout, self.ask()).await {
            Ok(asked) => asked.err().map(|error| sentence(&error)),
            Err(_) => Some(format!("no answer within {:?}", self.timeout)),
        };
        let verdict = Verdict {
            took: start.elapsed(),
            failure,
        };
        told(&verdict);
        *last = Some((Instant::now(), verdict.clone()));
        (verdict, Duration::ZERO)
    }

    async fn ask(&self) -> anyhow::Result<()> {
        match &self.kind {
            Kind::Sql(check) => check.ask().await,
            Kind::Redis(check) => check.ask().await,
            Kind::Http(check) => check.ask().await,
            Kind::Tcp(check) => check.ask().await,
            Kind::Grpc(check) => check.ask().await,
            Kind::File(check) => check.ask(),
        }
    }
}

/// An error and its causes, each said once: some libraries' texts hold those of their causes.
fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !sentence.contains(&cause) {
            let colon = if sentence.is_empty() { "" } else { ": " };
            sentence = sentence + colon + &cause;
        }
    }
    sentence
}
