//! Fuzz targets: what must hold for any bytes at all.
//!
//! ```text
//!  bytes ─┬─▶ review      a body, posted to the webhook ─▶ 400, or a whole review whose patch applies
//!         ├─▶ annotation  a key and a value ────────────▶ a decision with a sentence
//!         ├─▶ template    a pattern and its parameters ─▶ faults, or a pattern that keeps the laws
//!         └─▶ patch       a Pod, or edits of one ───────▶ denied, or the laws: applies, once is enough, comes off again
//! ```
//!
//! `tests/fuzz/run` lets libFuzzer drive them by coverage, on stable Rust. `cargo test --test fuzz` tries the committed corpora and a
//! thousand random inputs each. An input that once broke something stays in its target's corpus.

// What is expected here is said where it is expected; there is nobody to recover for.
#![allow(clippy::expect_used)]

mod annotation;
mod laws;
#[path = "../it/support/meaning.rs"]
mod meaning;
mod patch;
mod pods;
mod review;
mod template;

#[test]
fn review() {
    bolero::check!().for_each(review::holds);
}

#[test]
fn annotation() {
    bolero::check!().for_each(annotation::holds);
}

#[test]
fn template() {
    bolero::check!().for_each(template::holds);
}

#[test]
fn patch() {
    bolero::check!().for_each(patch::holds);
}
