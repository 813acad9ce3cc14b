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

/// What a query gave: how many rows, and the first value, if it matters and is not NULL.
#[derive(Debug, Default)]
struct Seen {
    count: u32,
    first: Option<String>,
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
        if let Some(file) = &spec.ca_file {
            ensure!(
                spec.tls() == TlsMode::Verify,
                "`caFile` needs `tls` to be `verify`: nothing else verifies"
            );
            std::fs::File::open(file)
                .with_context(|| format!("cannot read `{}`", file.display()))?;
        }
        Ok(Self {
            host,
            port,
            limit: timeout + Duration::from_millis(100),
            spec,
            server,
        })
    }

    pub(super) async fn ask(&self) -> anyhow::Result<()> {
        let seen = match &self.server {
            Server::MySql(kept) => {
                let slot = &mut *kept.lock().await;
                self.look(slot, async || self.connect_mysql().await).await
            }
            Server::Postgres(kept) => {
                let slot = &mut *kept.lock().await;
                self.look(slot, async || self.connect_postgres().await)
                    .await
            }
        };
        self.judge(&seen?)
    }

    /// Runs the query on the connection that is kept, or on a new one, which is then kept.
    async fn look<C>(
        &self,
        slot: &mut Option<C>,
        connect: impl AsyncFnOnce() -> anyhow::Result<C>,
    ) -> anyhow::Result<Seen>
    where
        C: Connection,
        for<'c> &'c mut C: Executor<'c, Database = C::Database>,
        for<'r> Option<String>: Decode<'r, C::Database>,
        usize: ColumnIndex<<C::Database as Database>::Row>,
    {
        // One that the server has closed meanwhile says nothing about the server now.
        if let Some(mut connection) = slot.take()
            && let Ok(seen) = self.rows(&mut connection).await
        {
            *slot = Some(connection).filter(|_| seen.count <= MOST_ROWS);
            return Ok(seen);
        }
        let mut connection = connect().await?;
        let seen = self.rows(&mut connection).await.map_err(plain)?;
        // Rows that nobody reads are in the way of the next query.
        *slot = Some(connection).filter(|_| seen.count <= MOST_ROWS);
        Ok(seen)
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
            .disable_statement_logging()
            .ssl_mode(match spec.tls() {
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
            format!("SET SESSION max_statement_time = {}", limit.as_secs_f64()),
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
            .disable_statement_logging()
            .options([("statement_timeout", limit.as_millis().to_string())])
            .ssl_mode(match spec.tls() {
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

    /// Runs the query. The text protocol gives every value as text.
    async fn rows<'c, C>(&self, connection: &'c mut C) -> sqlx::Result<Seen>
    where
        C: Connection,
        &'c mut C: Executor<'c, Database = C::Database>,
        for<'r> Option<String>: Decode<'r, C::Database>,
        usize: ColumnIndex<<C::Database as Database>::Row>,
    {
        let query = AssertSqlSafe(self.spec.query.clone());
        let mut rows = sqlx::raw_sql(query).fetch(connection);
        let mut seen = Seen::default();
        while seen.count <= MOST_ROWS
            && let Some(row) = rows.try_next().await?
        {
            if seen.count == 0 && self.spec.expect.is_some() {
                seen.first = row.try_get_unchecked(0usize)?;
            }
            seen.count += 1;
        }
        Ok(seen)
    }

    fn judge(&self, seen: &Seen) -> anyhow::Result<()> {
        let SqlSpec {
            min_rows, expect, ..
        } = &self.spec;
        let Seen { count, first } = seen;
        ensure!(
            *count <= MOST_ROWS,
            "the query gave more than {MOST_ROWS} rows: give it a LIMIT"
        );
        ensure!(
            count >= min_rows,
            "the query gave {count} rows, expected at least {min_rows}"
        );
        if let Some(expected) = expect {
            ensure!(*count > 0, "the query gave no row, expected `{expected}`");
            let value = first.as_deref().unwrap_or("NULL");
            ensure!(
                value == expected,
                "the query gave `{value}`, expected `{expected}`"
            );
        }
        Ok(())
    }
}

/// What the server said, without the library's words around it.
fn plain(error: sqlx::Error) -> anyhow::Error {
    match error {
        sqlx::Error::Database(error) => anyhow::anyhow!("{}", error.message()),
        sqlx::Error::Tls(error) => anyhow::anyhow!("{error}"),
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            anyhow::anyhow!("the server has closed the connection")
        }
        sqlx::Error::Io(error) => error.into(),
        error => error.into(),
    }
}
