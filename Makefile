# pg_automate: `make` alone prints this help.
.DEFAULT_GOAL := help
.PHONY: help setup build install docs test test-core test-sql lint demo demo-stop bench clean

# Days of flights that the demo loads (1 to 365).
DAYS ?= 31
# Arguments for pytest, such as ARGS="-k install -x".
ARGS ?=

help: ## this text
	@echo "pg_automate: PostgreSQL runs its own automation"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  DAYS=365     how many days the demo loads (default $(DAYS))"
	@echo "  ARGS=\"...\"   arguments for pytest in test-sql"

setup: ## install what is missing (Debian packages, Python environment)
	@scripts/setup.sh

build: setup ## build the extension and install it into a private PostgreSQL tree
	@scripts/install.sh release

install: build ## copy the extension into the machine's own PostgreSQL 15 (PG_CONFIG=...)
	@scripts/deploy.sh $(PG_CONFIG)

test: test-core test-sql ## every test

test-core: setup ## the tests that need no server
	@bash -c '. scripts/env.sh && cargo test --package automate_core --package automate_sender'

test-sql: build ## the tests on a private server
	@scripts/test.sh $(ARGS)

lint: build ## rustfmt, clippy, rustdoc, pgspot, shellcheck, budgets
	@scripts/lint.sh

demo: build ## the main job on a month of real flights (DAYS=365: the year)
	@demo/run.sh $(DAYS)

demo-stop: ## stop the demo's server and remove its files
	@demo/stop.sh

bench: build ## measure, beside the machine's own limits
	@scripts/setup.sh --bench
	@bash -c '. scripts/env.sh && cargo build --quiet --release --package automate_sender --example bench && exec "$$VENV/bin/python" benches/run.py'

docs: build ## write docs/reference.md from the comments in the database
	@bash -c '. scripts/env.sh && exec "$$VENV/bin/python" scripts/reference.py'

clean: demo-stop ## remove what was built and cached
	@bash -c '. scripts/env.sh && rm -rf "$$PG_AUTOMATE_PREFIX" "$$PG_AUTOMATE_CACHE/target" "$$VENV"'
