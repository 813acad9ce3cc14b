# What people run and what CI runs. `make ci` is all of it.

.PHONY: test lint engines helper fuzz chart e2e cluster generate bench ci

# The everyday tests: only Rust is needed.
test:
	cargo test --locked
	cargo test --locked --package outrigger-helper

# Formatting, clippy, docs, licences, and that generated files are fresh.
lint: target/tools/bin/cargo-deny
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --test engines -- -D warnings
	cargo clippy --locked --package outrigger-helper --test real -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --package outrigger --package outrigger-helper
	target/tools/bin/cargo-deny --locked check licenses bans sources
	docs/generate --check

# The patterns, run by their real engines: Envoy, Redis, the exporter. Installs what it needs.
engines:
	tests/engines/run

# The helper's jobs against Redis, MariaDB, PostgreSQL and an API server. Installs and builds what it needs; needs root.
helper:
	tests/helper/run

# What must hold for any bytes, tried for a while: `tests/fuzz/run 900` tries for an hour.
fuzz:
	tests/fuzz/run

# The chart: lint, schema, renders, alerts that fire, manifests and README fresh. Builds helm on first use.
chart:
	tests/chart/run

# All of it on a real cluster, and the fixtures on the oldest and the newest API server. Builds Kubernetes on first use; needs root.
e2e:
	tests/e2e/run
	tests/e2e/versions

# A real cluster with Outrigger and examples/shop.yaml on it, to look around.
cluster:
	tests/e2e/demo

# Writes the generated files anew.
generate:
	docs/generate
	tests/chart/readme
	tests/chart/manifests

# `inject` beside parsing the same Pod; the table of ratios comes last.
bench:
	cargo bench --locked --bench inject

ci: lint test engines helper fuzz chart e2e

target/tools/bin/cargo-deny:
	cargo install --locked --quiet --root target/tools --version 0.20.2 cargo-deny
