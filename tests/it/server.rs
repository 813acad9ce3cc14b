//! The webhook server, from outside: the binary, over TLS.

mod admin;
mod advise;
mod bad_input;
mod bounds;
mod certificates;
mod contract;
mod fresh;
mod http;
mod life;
mod logs;
mod tls;
