//! The jobs against the servers they are for: real Redis, MariaDB, PostgreSQL, the real API server. `tests/helper/run` fetches and
//! names them, and runs these tests; without them they fail.

// clippy.toml allows these in tests; it does not see that the whole crate is one.
#![allow(clippy::expect_used, clippy::print_stderr, unreachable_pub)]

mod support;

mod health;
mod leader_elector;
mod redis_slowlog;
mod scatter_gather;
mod self_signed;
mod work_queue;
