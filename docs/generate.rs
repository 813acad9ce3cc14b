//! Prints what the chart is made of, out of the types and constants that the server reads: `cargo run --example generate -- WHAT`.

use std::process::ExitCode;

use outrigger::crd;
use outrigger::entries::Entry;
use serde_json::{Map, Value};

#[allow(clippy::print_stdout, clippy::print_stderr)] // that is all it does
fn main() -> ExitCode {
    let [patterns, bindings] = crd::definitions();
    let value = match std::env::args().nth(1).as_deref() {
        Some("patterns") => patterns,
        Some("patternbindings") => bindings,
        Some("match-conditions") => Entry::ALL
            .map(|entry| (entry.name().to_owned(), entry.match_conditions()))
            .into_iter()
            .collect::<Map<_, _>>()
            .into(),
        _ => Value::Null,
    };
    match outrigger::yaml::write(&value) {
        Ok(text) if !value.is_null() => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("expected `patterns`, `patternbindings` or `match-conditions`");
            ExitCode::from(2)
        }
    }
}
