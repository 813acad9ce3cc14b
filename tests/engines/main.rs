//! The built-in patterns on the engines they are for: a real Envoy, a real Redis, a real exporter.
//!
//! ```text
//!  annotation ─▶ inject ─▶ Pod ─▶ lay out ─▶ what its container would see ─▶ the container's own command line
//!                                  (pod)      files, secrets, env                (process)
//! ```
//!
//! Run by `tests/engines/run`, which finds or fetches the binaries and names them in the environment; without them the tests fail.
//! Every port is on the loopback and was free when it was chosen; every process dies with the test that started it.

// clippy.toml allows these in tests; it does not see that the whole crate is one.
#![allow(clippy::expect_used, clippy::print_stderr, clippy::print_stdout)]

mod https;
mod pod;
mod process;
mod redis;
mod redis_metrics;
mod redis_shard;
mod validate;
