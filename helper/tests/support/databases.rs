//! MariaDB and PostgreSQL: real servers that forget everything, with one small shop each.

use std::path::{Path, PathBuf};

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, Row};
use tempfile::TempDir;
use tokio::process::Command;

use super::{Process, free_port, setting, until};

/// What the checks log in as.
pub const USER: &str = "health";
/// Odd characters travel, too; nobody else says this.
pub const PASSWORD: &str = "p:a/s%s w@rd";

/// Which server it is. What both do, tests say once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    MariaDb,
    Postgres,
}

impl Engine {
    pub const BOTH: [Self; 2] = [Self::MariaDb, Self::Postgres];

    /// The kind of check for it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::MariaDb => "mysql",
            Self::Postgres => "postgres",
        }
    }

    /// What is for the one and what is for the other.
    pub fn pick<T>(self, mariadb: T, postgres: T) -> T {
        match self {
            Self::MariaDb => mariadb,
            Self::Postgres => postgres,
        }
    }

    fn program(self) -> PathBuf {
        setting(self.pick("OUTRIGGER_MARIADBD", "OUTRIGGER_POSTGRES")).into()
    }

    /// A command as the server's own user: both servers refuse to be root.
    fn command(self, program: impl AsRef<Path>) -> Command {
        if !is_root() {
            return Command::new(program.as_ref());
        }
        let mut command = Command::new("setpriv");
        let user = self.user();
        command
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .args(["--clear-groups", "--"])
            .arg(program.as_ref());
        command
    }

    fn user(self) -> &'static str {
        self.pick("mysql", "postgres")
    }

    /// Gives a file, or all of a directory, to the server's user.
    async fn give(self, path: &Path) {
        if is_root() {
            let owner = format!("{}:", self.user());
            let mut command = Command::new("chown");
            succeed(command.args(["--recursive", &owner]).arg(path)).await;
        }
    }

    /// The files of a new server. Making them takes seconds, so that they are made once and then copied.
    async fn template(self) -> PathBuf {
        let program = self.program();
        let name = program.to_string_lossy().replace('/', "-");
        let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("data{name}"));
        if template.exists() {
            return template;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        self.give(directory.path()).await;
        let data = directory.path().join("data");
        let mut command = match self {
            Self::MariaDb => self.command("mariadb-install-db"),
            Self::Postgres => self.command(program.with_file_name("initdb")),
        };
        match self {
            Self::MariaDb => command.args(["--no-defaults", "--skip-test-db"]).args([
                "--auth-root-authentication-method=normal",
                "--innodb-log-file-size=4M",
                "--innodb-undo-tablespaces=0",
            ]),
            Self::Postgres => command
                .args(["--username=postgres", "--auth-local=trust"])
                .args(["--auth-host=scram-sha-256", "--no-sync"])
                .args(["--encoding=UTF8", "--locale=C"]),
        };
        let argument = self.pick("--datadir", "--pgdata");
        succeed(command.arg(format!("{argument}={}", data.display()))).await;
        // Moved in one step: a half-made one is never found.
        let partial = template.with_extension(std::process::id().to_string());
        succeed(Command::new("cp").arg("-a").arg(&data).arg(&partial)).await;
        if std::fs::rename(&partial, &template).is_err() {
            std::fs::remove_dir_all(&partial).expect("another was quicker");
        }
        template
    }
}

/// A server in a directory of its own. It has the database `shop` with the table `orders` (1, 2), which [`USER`] may read.
#[derive(Debug)]
pub struct Database {
    pub engine: Engine,
    pub port: u16,
    process: Option<Process>,
    options: Vec<String>,
    directory: TempDir,
}

impl Database {
    pub async fn start(engine: Engine) -> Self {
        let template = engine.template().await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        succeed(Command::new("cp").arg("-a").arg(template).arg(data)).await;
        engine.give(directory.path()).await;
        let mut database = Self {
            engine,
            port: free_port(),
            process: None,
            options: Vec::new(),
            directory,
        };
        database.restart(&[]).await;
        let mut admin = database.admin("").await;
        admin.run("CREATE DATABASE shop").await;
        let user = database.user();
        let identified = engine.pick("IDENTIFIED BY", "PASSWORD");
        admin
            .run(&format!("CREATE USER {user} {identified} '{PASSWORD}'"))
            .await;
        database.fill().await;
        database
    }

    /// The table, its rows, and the right to read it.
    pub async fn fill(&self) {
        let mut admin = self.admin("shop").await;
        for statement in [
            "CREATE TABLE orders (id INT PRIMARY KEY)",
            "INSERT INTO orders VALUES (1), (2)",
            &format!("GRANT SELECT ON orders TO {}", self.user()),
        ] {
            admin.run(statement).await;
        }
    }

    /// [`USER`], as the server's statements name it.
    pub fn user(&self) -> String {
        let name = self.engine.pick("'health'@'127.0.0.1'", USER);
        name.to_owned()
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// kill -9, if it runs, and a new start with the same files, the same options, and more of them.
    pub async fn restart(&mut self, options: &[&str]) {
        self.stop().await;
        self.options
            .extend(options.iter().map(|option| (*option).to_owned()));
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let (data, socket) = (at("data"), at("socket"));
        let mut command = self.engine.command(self.engine.program());
        match self.engine {
            Engine::MariaDb => command
                .args(["--no-defaults", "--bind-address=127.0.0.1"])
                .arg(format!("--datadir={data}"))
                .arg(format!("--port={}", self.port))
                .arg(format!("--socket={socket}"))
                .arg(format!("--pid-file={}", at("pid")))
                .arg(format!("--general-log-file={}", at("statements")))
                .args(["--general-log", "--skip-name-resolve", "--sync-binlog=0"])
                .args(["--innodb-log-file-size=4M", "--innodb-undo-tablespaces=0"])
                .args(["--innodb-buffer-pool-size=16M", "--innodb-fast-shutdown=2"])
                .arg("--innodb-flush-log-at-trx-commit=2"),
            Engine::Postgres => command
                .args(["-D", &data, "-p", &self.port.to_string()])
                .args(["-k", &self.directory.path().display().to_string()])
                .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
                .args(["-c", "full_page_writes=off", "-c", "log_statement=all"])
                .args(["-c", "shared_buffers=8MB"]),
        };
        command.args(&self.options);
        self.process = Some(Process::start(self.engine.kind(), &mut command));
        let answers = async || Admin::connect(self, "").await.ok();
        until(&format!("{:?} to answer", self.engine), answers).await;
    }

    /// kill -9 of all its processes.
    pub async fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let family = family(process.id());
        signal("KILL", &family).await;
        process.kill().await;
        until("its processes to end", async || {
            let alive = |id: &u32| Path::new(&format!("/proc/{id}")).exists();
            (!family.iter().any(alive)).then_some(())
        })
        .await;
    }

    /// Stops the time of the server: it keeps its sockets and does nothing.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
    }

    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        signal(name, &family(self.process().id())).await;
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// A connection as the server's own superuser, by a way that no check uses.
    pub async fn admin(&self, database: &str) -> Admin {
        Admin::connect(self, database)
            .await
            .expect("a connection of the test's own")
    }

    /// Puts a file where the server may read it, and nobody else, and tells its path.
    pub async fn place(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("its mode");
        self.engine.give(&path).await;
        path.display().to_string()
    }

    /// How often the server was asked this, by its own log.
    pub fn asked(&self, query: &str) -> usize {
        match self.engine {
            Engine::MariaDb => {
                let file = self.directory.path().join("statements");
                let text = std::fs::read_to_string(file).expect("its log");
                text.lines().filter(|line| line.ends_with(query)).count()
            }
            Engine::Postgres => {
                let lines = self.process().log();
                lines
                    .iter()
                    .filter(|line| line.ends_with(&format!("statement: {query}")))
                    .count()
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(process) = &self.process
            && let Some(id) = process.running()
        {
            // The first of them is killed by its own `Drop`; a PostgreSQL that is frozen would leave the others behind.
            let ids: Vec<_> = family(id).iter().map(u32::to_string).collect();
            let _ = std::process::Command::new("kill")
                .arg("-KILL")
                .args(ids)
                .output();
        }
    }
}

/// The superuser.
#[derive(Debug)]
pub enum Admin {
    MariaDb(MySqlConnection),
    Postgres(PgConnection),
}

impl Admin {
    async fn connect(server: &Database, database: &str) -> sqlx::Result<Self> {
        let directory = server.directory.path();
        match server.engine {
            Engine::MariaDb => {
                let mut options = MySqlConnectOptions::new()
                    .socket(directory.join("socket"))
                    .username("root");
                if !database.is_empty() {
                    options = options.database(database);
                }
                let connection = MySqlConnection::connect_with(&options).await?;
                Ok(Self::MariaDb(connection))
            }
            Engine::Postgres => {
                let mut options = PgConnectOptions::new_without_pgpass()
                    .socket(directory)
                    .port(server.port)
                    .username("postgres");
                if !database.is_empty() {
                    options = options.database(database);
                }
                let connection = PgConnection::connect_with(&options).await?;
                Ok(Self::Postgres(connection))
            }
        }
    }

    /// A statement without an answer.
    pub async fn run(&mut self, statement: &str) {
        self.rows(statement).await;
    }

    /// The first column of each row, as text.
    pub async fn rows(&mut self, query: &str) -> Vec<String> {
        let text = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        let rows: sqlx::Result<Vec<String>> = match self {
            Self::MariaDb(connection) => text
                .fetch_all(connection)
                .await
                .and_then(|rows| rows.iter().map(|row| row.try_get_unchecked(0)).collect()),
            Self::Postgres(connection) => text
                .fetch_all(connection)
                .await
                .and_then(|rows| rows.iter().map(|row| row.try_get_unchecked(0)).collect()),
        };
        rows.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The ids of the connections of [`USER`]; those that run a query only, or all.
    pub async fn connections(&mut self, busy: bool) -> Vec<String> {
        let query = match self {
            Self::MariaDb(_) => {
                "SELECT id FROM information_schema.processlist WHERE user = 'health'"
            }
            Self::Postgres(_) => "SELECT pid FROM pg_stat_activity WHERE usename = 'health'",
        };
        let condition = match (busy, &self) {
            (false, _) => "",
            (true, Self::MariaDb(_)) => " AND command = 'Query'",
            (true, Self::Postgres(_)) => " AND state = 'active'",
        };
        self.rows(&format!("{query}{condition}")).await
    }

    /// Ends all connections of [`USER`], and waits until they are gone.
    pub async fn disconnect(&mut self) {
        for id in self.connections(false).await {
            let statement = match self {
                Self::MariaDb(_) => format!("KILL {id}"),
                Self::Postgres(_) => format!("SELECT pg_terminate_backend({id})::text"),
            };
            self.run(&statement).await;
        }
        while !self.connections(false).await.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Locks the table `orders` against readers.
    pub async fn lock(&mut self) {
        match self {
            Self::MariaDb(_) => self.run("LOCK TABLES orders WRITE").await,
            Self::Postgres(_) => {
                self.run("BEGIN").await;
                self.run("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await;
            }
        }
    }

    pub async fn unlock(&mut self) {
        let statement = match self {
            Self::MariaDb(_) => "UNLOCK TABLES",
            Self::Postgres(_) => "COMMIT",
        };
        self.run(statement).await;
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").expect("ourselves").uid() == 0
}

async fn succeed(command: &mut Command) {
    let done = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
}

/// A process and its children.
fn family(id: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    std::iter::once(id).chain(children).collect()
}

async fn signal(name: &str, ids: &[u32]) {
    // One of PostgreSQL's helpers may have ended by itself.
    let mut command = Command::new("kill");
    command.arg(format!("-{name}"));
    command.args(ids.iter().map(u32::to_string));
    let _ = command.output().await;
}
