//! The webhook server, from outside: the binary, over TLS.

mod advise;
mod bad_input;
mod bounds;
mod contract;
mod http;
mod tls;
