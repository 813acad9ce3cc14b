# What people run and what CI runs. `make ci` is all of it.

.PHONY: test lint engines fuzz generate bench ci

# The everyday tests: only Rust is needed.
test:
	cargo test --locked

# Formatting, clippy, docs, licences, and that generated files are fresh.
lint: target/tools/bin/cargo-deny
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	target/tools/bin/cargo-deny --locked check licenses bans sources
	docs/generate --check

# The patterns, run by their real engines: Envoy, Redis, the exporter. Installs what it needs.
engines:
	tests/engines/run

# What must hold for any bytes, tried for a while: `tests/fuzz/run 900` tries for an hour.
fuzz:
	tests/fuzz/run

# Writes the generated pages anew.
generate:
	docs/generate

# `inject` beside parsing the same Pod; the table of ratios comes last.
bench:
	cargo bench --locked --bench inject

ci: lint test engines fuzz

target/tools/bin/cargo-deny:
	cargo install --locked --quiet --root target/tools --version 0.20.2 cargo-deny
