//! Outrigger gives a Pod the helper containers it asks for.
//!
//! ```text
//!  API server ──AdmissionReview──▶ server ──┐
//!                                           ├─▶ inject: decide ─▶ render ─▶ merge ─▶ check ─▶ JSON patch
//!  a YAML file ──outrigger inject──▶ cli ───┘
//! ```
//!
//! Words: a *pattern* is a reusable recipe ([`pattern`]), an *instance* one use of it in one Pod ([`kubernetes::names::Instance`]), a *binding*
//! a rule that gives a pattern to Pods that did not ask ([`binding`]), a *decision* what became of a candidate and why
//! ([`inject::Decision`]). The core, everything but [`cli`], [`manifest`], `world`, `server` and `tls`, knows no clock, environment, file or network.

pub mod binding;
pub mod catalog;
pub mod cli;
pub mod crd;
pub mod entries;
pub mod inject;
pub mod keys;
pub mod kubernetes;
pub mod manifest;
pub mod pattern;
pub mod server;

mod cluster;
mod hash;
mod text;
mod tls;
mod world;
pub mod yaml;
