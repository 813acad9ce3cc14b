//! The webhook server, from outside: the binary, over TLS.

mod contract;
