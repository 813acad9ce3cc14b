//! Everything that is tested from outside, in one binary: the laws, the fixtures, the command line.

// What is expected here is said where it is expected; there is nobody to recover for.
#![allow(clippy::expect_used, clippy::print_stdout)]

mod architecture;
mod bad_input;
mod cli;
mod fixtures;
mod hostile;
mod laws;
mod required;
mod server;
mod support;
