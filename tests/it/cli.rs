//! The command line as people and scripts meet it: exact output, exact exit codes.

mod certs;
mod inject;
mod streams;
mod verbs;
