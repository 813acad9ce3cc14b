//! MySQL, MariaDB and PostgreSQL: a query that stands for real work.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{
    AssertSqlSafe, ColumnIndex, ConnectOptions, Connection, Database, Decode, Executor,
    MySqlConnection, PgConnection, Row,
};
use tokio::sync::Mutex;

use super::config::{SqlSpec, TlsMode};

/// A query with more rows counts work that nobody asked for.
const MOST_ROWS: u32 = 10_000;

#[derive(Debug)]
pub(super) struct SqlCheck {
    spec: SqlSpec,
    host: String,
    port: u16,
    /// The server's own limit for the query: it outlives our patience by little.
    limit: Duration,
    server: Server,
}

/// One connection, kept from one question to the next; it is taken out while it is used, so that one that hangs is gone.
#[derive(Debug)]
enum Server {
    MySql(Mutex<Option<MySqlConnection>>),
    Postgres(Mutex<Option<PgConnection>>),
}

impl SqlCheck {
    pub(super) fn mysql(spec: SqlSpec, timeout: Duration) -> anyhow::Result<Self> {
        Self::new(spec, timeout, Server::MySql(Mutex::default()))
    }

    pub(super) fn postgres(spec: SqlSpec, timeout: Duration) -> anyhow::Result<Self> {
        Self::new(spec, timeout, Server::Postgres(Mutex::default()))
    }

    fn new(spec: SqlSpec, timeout: Duration, server: Server) -> anyhow::Result<Self> {
        let (host, port) = super::tcp::split(&spec.address)?;
        spec.password.get()?;
        Ok(Self {
            host,
            port,
            limit: timeout + Duration::from_secs(1),
            spec,
            server,
        })
    }

    pub(super) async fn ask(&self) -> anyhow::Result<()> {
        match &self.server {
            Server::MySql(kept) => {
                let mut slot = kept.lock().await;
                let mut connection = match slot.take() {
                    Some(connection) => connection,
                    None => self.connect_mysql().await?,
                };
                self.judge(&mut connection).await?;
                *slot = Some(connection);
            }
            Server::Postgres(kept) => {
                let mut slot = kept.lock().await;
                let mut connection = match slot.take() {
                    Some(connection) => connection,
                    None => self.connect_postgres().await?,
                };
                self.judge(&mut connection).await?;
                *slot = Some(connection);
            }
        }
        Ok(())
    }

    async fn connect_mysql(&self) -> anyhow::Result<MySqlConnection> {
        let Self {
            spec,
            host,
            port,
            limit,
            ..
        } = self;
        let mut options = MySqlConnectOptions::new()
            .host(host)
            .port(*port)
            .username(&spec.user)
            .ssl_mode(match spec.tls {
                TlsMode::Disable => MySqlSslMode::Disabled,
                TlsMode::Prefer => MySqlSslMode::Preferred,
                TlsMode::Require => MySqlSslMode::Required,
                TlsMode::Verify => MySqlSslMode::VerifyIdentity,
            });
        if !spec.database.is_empty() {
            options = options.database(&spec.database);
        }
        if let Some(password) = spec.password.get()? {
            options = options.password(password.reveal());
        }
        if let Some(file) = &spec.ca_file {
            options = options.ssl_ca(file);
        }
        let mut connection = MySqlConnection::connect_with(&options)
            .await
            .map_err(plain)
            .context("cannot connect")?;
        // MariaDB knows the one, MySQL the other; either is an extra.
        for limit in [
            format!("SET SESSION max_statement_time = {}", limit.as_secs()),
            format!("SET SESSION max_execution_time = {}", limit.as_millis()),
        ] {
            if let Err(error) = connection.execute(AssertSqlSafe(limit)).await
                && error.as_database_error().is_none()
            {
                return Err(plain(error)).context("cannot connect");
            }
        }
        Ok(connection)
    }

    async fn connect_postgres(&self) -> anyhow::Result<PgConnection> {
        let Self {
            spec,
            host,
            port,
            limit,
            ..
        } = self;
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(host)
            .port(*port)
            .username(&spec.user)
            .application_name("outrigger-health")
            .options([("statement_timeout", limit.as_millis().to_string())])
            .ssl_mode(match spec.tls {
                TlsMode::Disable => PgSslMode::Disable,
                TlsMode::Prefer => PgSslMode::Prefer,
                TlsMode::Require => PgSslMode::Require,
                TlsMode::Verify => PgSslMode::VerifyFull,
            });
        if !spec.database.is_empty() {
            options = options.database(&spec.database);
        }
        if let Some(password) = spec.password.get()? {
            options = options.password(password.reveal());
        }
        if let Some(file) = &spec.ca_file {
            options = options.ssl_root_cert(file);
        }
        options
            .connect()
            .await
            .map_err(plain)
            .context("cannot connect")
    }

    /// Runs the query and looks at its rows. The text protocol gives every value as text.
    async fn judge<'c, C>(&self, connection: &'c mut C) -> anyhow::Result<()>
    where
        C: Connection,
        &'c mut C: Executor<'c, Database = C::Database>,
        for<'r> Option<String>: Decode<'r, C::Database>,
        usize: ColumnIndex<<C::Database as Database>::Row>,
    {
        let SqlSpec {
            query,
            min_rows,
            expect,
            ..
        } = &self.spec;
        let mut rows = sqlx::raw_sql(AssertSqlSafe(query.clone())).fetch(connection);
        let mut count = 0;
        while let Some(row) = rows.try_next().await.map_err(plain)? {
            if count == 0
                && let Some(expected) = expect
            {
                let value: Option<String> = row.try_get_unchecked(0usize).map_err(plain)?;
                let value = value.unwrap_or_else(|| "NULL".to_owned());
                ensure!(
                    value == *expected,
                    "the query gave `{value}`, expected `{expected}`"
                );
            }
            count += 1;
            ensure!(
                count <= MOST_ROWS,
                "the query gave more than {MOST_ROWS} rows: give it a LIMIT"
            );
        }
        ensure!(
            count >= *min_rows,
            "the query gave {count} rows, expected at least {min_rows}"
        );
        ensure!(
            count > 0 || expect.is_none(),
            "the query gave no row, expected `{}`",
            expect.as_deref().unwrap_or_default()
        );
        Ok(())
    }
}

/// What the server said, without the library's words around it.
fn plain(error: sqlx::Error) -> anyhow::Error {
    match error {
        sqlx::Error::Database(error) => anyhow::anyhow!("{}", error.message()),
        error => error.into(),
    }
}
