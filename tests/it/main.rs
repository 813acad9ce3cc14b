//! Everything that is tested from outside, in one binary: the laws, the fixtures, the command line.

mod architecture;
mod bad_input;
mod cli;
mod fixtures;
mod hostile;
mod laws;
mod support;
