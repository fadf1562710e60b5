# Every target that builds or runs something does so in the environment of scripts/env, on the tools of scripts/setup.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

in_environment = eval "$$(scripts/env)" &&
nextest_profile := $(if $(CI),ci,default)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## Install the tools of the tests into a cache directory (the others install what they need by themselves)
	@scripts/setup

# Always the whole workspace: packages built alone differ in their dependencies' features, which are then built twice.
.PHONY: build
build: ## Build the programs
	@scripts/setup --programs
	@$(in_environment) cargo build --locked --workspace --bins

# The tests of the documentation need no servers. The others come last, so that the output ends with their summary.
.PHONY: test
test: setup ## Run all tests, beside a PostgreSQL and a Temporal server made for them
	@$(in_environment) scripts/previous-build >/dev/null
	@$(in_environment) cargo build --locked --workspace --bins --tests
	@$(in_environment) cargo test --locked --workspace --doc --quiet
	@$(in_environment) scripts/with-services \
		cargo nextest run --locked --workspace --profile $(nextest_profile) $$(scripts/previous-build 2>/dev/null)

.PHONY: lint
lint: ## Check format, Clippy, documentation, dependencies, and what is in git
	@scripts/setup --lint
	@scripts/check-tree
	@$(in_environment) cargo fmt --all --check
	@$(in_environment) cargo clippy --locked --workspace --all-targets -- -D warnings
	@$(in_environment) RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	@$(in_environment) cargo fetch --locked && cargo deny --log-level error --offline check bans licenses sources

.PHONY: docs
docs: build ## Write the reference of all settings anew
	@$(in_environment) settings=$$(hello-seller config --markdown) && printf '%s\n' "$$settings" >docs/configuration.md

.PHONY: fmt
fmt: ## Format the code
	@cargo fmt --all

.PHONY: demo
demo: build ## Run the whole story by itself; ARGS="--record FILE" checks what is said against the protocol's schemas
	@$(in_environment) scripts/demo $(ARGS)

.PHONY: dev
dev: build ## Run everything on this machine, until Ctrl-C
	@$(in_environment) "$$CARGO_TARGET_DIR/debug/acme-seller" dev

.PHONY: bench
bench: setup ## Measure beside bare workflows and the Python SDK; ARGS="--only http" for a part, ARGS="--help" for all there is
	@$(in_environment) cargo build --locked --release --package handoff-bench
	@$(in_environment) scripts/with-services "$$CARGO_TARGET_DIR/release/handoff-bench" run $(ARGS)

.PHONY: clean
clean: ## Remove what was built; the tools stay
	@$(in_environment) cargo clean
