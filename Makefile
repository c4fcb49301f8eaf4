# `make run` and `make test` work from a fresh clone on Debian or Ubuntu with nothing but Rust: they install what is missing.

export PATH := $(HOME)/.cargo/bin:$(PATH)
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What `make run` runs, for example: make run ARGS='bridge "mesh+ws://host/ws?room=demo" -o call.mkv'
ARGS ?= demo

# Which part of the measurements `make bench` makes; all when empty.
BENCH ?=

# How many participants and how many joins `make soak` tries: 50 1000 when empty.
SOAK ?=

# How many hours of media `make soak` lives through, and how many times as fast as time: 24 20 when empty.
DAY ?=

# What `make chaos` tries.
CHAOS ?= impair fec narrow_link attach endings failing_outputs repair chaos_kill chaos_power chaos_disk verify overload confined

# How many seconds `make fuzz` gives to each target, and which; all targets when empty.
SECONDS ?= 60
FUZZ ?=

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

.PHONY: setup
setup: ## Install what is missing to build and run
	@scripts/setup run

.PHONY: run
run: setup ## Build a release and run the demo: a server, a test participant, a bridge
	cargo build --release --locked
	@target/release/roomcast $(ARGS)

.PHONY: build
build: setup ## Build a release
	cargo build --release --locked

# Clippy and rustdoc share their metadata, the tests are the only build: nothing is compiled a third time.
.PHONY: test
test: ## Check format, lints and documentation, and run all tests: unit, integration, browsers
	@scripts/setup test
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --locked --no-deps --document-private-items
	cargo test --locked --no-fail-fast
	@echo 'make test: format, lints, documentation and all tests are good'

.PHONY: matrix
matrix: ## Play every output with every player, copied and transcoded, and print the table of the README
	@scripts/setup test
	cargo test --locked --test matrix -- --nocapture --test-threads=1

.PHONY: fmt
fmt: ## Format the code
	cargo fmt

.PHONY: bench
bench: setup ## Measure CPU against a plain GStreamer pipeline, and latency; one part: BENCH=cpu|latency|encoded|whep|passthrough|copy|ten
	cargo bench --locked --bench vertical -- $(BENCH)

.PHONY: chaos
chaos: ## Bad networks, kills, full disks and odd senders at length, with the figures of docs/reliability.md
	@scripts/setup test
	ROOMCAST_CHAOS=1 cargo test --locked $(patsubst %,--test %,$(CHAOS)) -- --nocapture --test-threads=1

.PHONY: soak
soak: setup ## 50 participants on one port, 1000 joins and leaves, and 24 hours of media in 72 minutes; fails when anything stays or grows
	RUST_LOG=$${RUST_LOG:-error} cargo run --release --locked --example soak -- $(SOAK)
	RUST_LOG=$${RUST_LOG:-error} cargo run --release --locked --example long_day -- $(DAY)

# What is found stays in fuzz/artifacts/TARGET; what was learnt in fuzz/corpus/TARGET. A short search without libFuzzer is in `make test`.
.PHONY: fuzz
fuzz: setup ## Search for inputs that break what reads packets, messages, names and URLs, with libFuzzer: SECONDS=60 for each target, or for one: FUZZ=mesh
	@rustup toolchain list | grep -q '^nightly' || { echo 'fuzz: rustup toolchain install nightly --profile minimal' >&2; exit 1; }
	@command -v cargo-fuzz >/dev/null || { echo 'fuzz: cargo install --locked cargo-fuzz' >&2; exit 1; }
	for target in $(or $(FUZZ),$(notdir $(wildcard fuzz/seeds/*))); do mkdir -p fuzz/corpus/$$target; \
		cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(SECONDS) -max_len=16384; done

.PHONY: doctor
doctor: build ## Check this machine
	@target/release/roomcast doctor

.PHONY: deny
deny: ## Check licences, duplicates and sources of the dependencies (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo 'deny: cargo install --locked cargo-deny' >&2; exit 1; }
	cargo deny --locked check licenses bans sources

.PHONY: image
image: ## Build the container image
	docker build --tag roomcast .
