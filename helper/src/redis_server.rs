//! A Redis or Valkey server: how jobs are told where it is, and a connection that is made anew when it breaks.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError,
    RedisResult, ServerErrorKind, TlsCertificates,
};
use tokio::sync::Mutex;

use crate::settings::Secret;

/// How long a new connection may take, and a command that does not block by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the server is, and who we are to it.
#[allow(clippy::struct_field_names)] // they are flags: several servers may have a password
#[derive(Debug, Args)]
#[command(next_help_heading = "Redis")]
pub(crate) struct RedisArgs {
    /// The server: `redis://host:6379`, or `rediss://host:6379` for TLS; a database number may follow, as in `redis://host/2`
    #[arg(
        long,
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        env = "OUTRIGGER_REDIS_URL",
        hide_env_values = true
    )]
    redis_url: String,
    /// ACL user to log in as; the default user, if it is left out
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_REDIS_USER")]
    redis_user: Option<String>,
    /// Its password; others on the machine can read flags, so use the environment, or a file
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "OUTRIGGER_REDIS_PASSWORD",
        hide_env_values = true,
        conflicts_with = "redis_password_file"
    )]
    redis_password: Option<Secret>,
    /// File that holds the password
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_REDIS_PASSWORD_FILE")]
    redis_password_file: Option<PathBuf>,
    /// File with the certificate authority, in PEM, that signed the server's certificate; the public ones, if it is left out
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_REDIS_CA")]
    redis_ca: Option<PathBuf>,
}

impl RedisArgs {
    /// The server; nothing is connected yet.
    pub(crate) fn server(&self) -> anyhow::Result<Client> {
        let password = match &self.redis_password_file {
            Some(file) => Some(Secret::read(file)?),
            None => self.redis_password.clone(),
        };
        client(
            &self.redis_url,
            self.redis_user.as_deref(),
            password.as_ref(),
            self.redis_ca.as_ref(),
        )
    }
}

/// A client of the server at `url`. What the URL says about the user is overruled by `user` and `password`.
pub(crate) fn client(
    url: &str,
    user: Option<&str>,
    password: Option<&Secret>,
    ca: Option<&PathBuf>,
) -> anyhow::Result<Client> {
    // The URL is not repeated: it may hold a password.
    let expected = "the Redis URL is none: expected redis://host:port or rediss://host:port";
    ensure!(
        [
            "redis://",
            "rediss://",
            "valkey://",
            "valkeys://",
            "unix://",
            "redis+unix://"
        ]
        .iter()
        .any(|scheme| url.starts_with(scheme)),
        expected
    );
    let info = url.into_connection_info().context(expected)?;
    let mut settings = info.redis_settings().clone();
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password {
        settings = settings.set_password(password.reveal());
    }
    let info = info.set_redis_settings(settings);
    let root_cert = match ca {
        Some(file) => {
            Some(std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?)
        }
        None => None,
    };
    let tls = url.starts_with("rediss://") || url.starts_with("valkeys://");
    ensure!(
        tls || ca.is_none(),
        "there is a certificate authority, but the Redis URL does not ask for TLS: expected rediss://"
    );
    if tls {
        let client_tls = None;
        let certificates = TlsCertificates {
            client_tls,
            root_cert,
        };
        return Ok(Client::build_with_tls(info, certificates)?);
    }
    Ok(Client::open(info)?)
}

/// A connection that is there when it is needed. Commands of several tasks share it; a blocking one needs a link of its own.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    patience: Duration,
    /// With a number, so that only the first of several who saw it break drops it.
    connection: Mutex<(u64, Option<MultiplexedConnection>)>,
}

impl Link {
    /// A link whose commands may block for so long.
    pub(crate) fn new(client: Client, blocking: Duration) -> Self {
        Self {
            client,
            patience: PATIENCE + blocking,
            connection: Mutex::default(),
        }
    }

    /// A link for commands that answer at once, or within `patience`.
    pub(crate) fn within(client: Client, patience: Duration) -> Self {
        Self {
            client,
            patience,
            connection: Mutex::default(),
        }
    }

    /// Sends one command.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let (number, mut connection) = self.connection().await?;
        let answer = command.query_async(&mut connection).await;
        self.judge(number, answer).await
    }

    /// Sends several commands, as one where they are a transaction.
    pub(crate) async fn ask_all<T: FromRedisValue>(
        &self,
        commands: &redis::Pipeline,
    ) -> RedisResult<T> {
        let (number, mut connection) = self.connection().await?;
        let answer = commands.query_async(&mut connection).await;
        self.judge(number, answer).await
    }

    async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut slot = self.connection.lock().await;
        if let (number, Some(connection)) = &*slot {
            return Ok((*number, connection.clone()));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience.min(PATIENCE)))
            .set_response_timeout(Some(self.patience));
        let connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        slot.0 += 1;
        slot.1 = Some(connection.clone());
        Ok((slot.0, connection))
    }

    /// Drops the connection after an error that the next command on it would meet, too.
    async fn judge<T>(&self, number: u64, answer: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &answer
            && is_of_the_connection(error)
        {
            let mut slot = self.connection.lock().await;
            if slot.0 == number {
                slot.1 = None;
            }
        }
        answer
    }
}

/// Also a server that has become a replica, or is loading: its name may by now mean another.
fn is_of_the_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || matches!(
            error.kind(),
            ErrorKind::Parse
                | ErrorKind::Client
                | ErrorKind::Server(
                    ServerErrorKind::ReadOnly
                        | ServerErrorKind::MasterDown
                        // A transaction that a replica refused.
                        | ServerErrorKind::ExecAbort
                        | ServerErrorKind::BusyLoading
                )
        )
}
