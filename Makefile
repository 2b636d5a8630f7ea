# Two commands from a fresh clone: `make demo` and `make test`. Both make .venv from the locked requirements first.
#
#   make demo      play a year of real flights through a Valkey server; ends by itself   (ARGS="--flights 10000")
#   make demo-postgres   the same with its event stores in PostgreSQL: one of its own, or that at $POSTGRES_URL
#   make demo-replay     rebuild a read model while it is written and read  (ARGS="--postgres", or $POSTGRES_URL)
#   make test      all tests                                                            (ARGS="-k claim -x")
#   make check     what a person should not have to look for: format, lint, types, layers, public API, docs, examples
#   make torture   the long form of the tests that need one
#   make bench     figures beside the raw loop and the peers                            (ARGS="--only P1")
#   make features  every promised feature with the tests that prove it
#   make servers   run the contract suites on every kind of server, and write docs/reference/servers.md
#   make docs      refresh what is generated in docs/, then run every snippet
#   make format    let ruff format and fix
#   make lock      resolve the newest versions into requirements/*.txt
#   make changelog VERSION=0.2.0     assemble CHANGELOG.md from changes/
#   make clean     remove .venv, caches and build results

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
ARGS ?=

# These hold what `make check` promises. `make check test` runs them once.
HELD := $(addprefix tests/test_,ground.py layers.py public_api.py errors.py features.py typing.py docs.py examples.py)

PIP := $(BIN)/python -m pip --disable-pip-version-check
# The locks are complete, so pip has nothing to resolve; the build tools come first, so it builds with those.
INSTALL := $(PIP) install --quiet --no-deps --require-hashes
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo demo-postgres demo-replay test check bench torture features servers docs format lock changelog clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@sed -n '3,17s/^# //p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Penstock needs Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml requirements/build.txt requirements/dev.txt | $(BIN)/python
	$(INSTALL) -r requirements/build.txt
	$(INSTALL) --no-build-isolation -r requirements/dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready requirements/bench.txt
	$(INSTALL) -r requirements/bench.txt
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/penstock demo $(ARGS)

demo-postgres: $(VENV)/.ready
	$(BIN)/python -m tools.postgres $(BIN)/penstock demo --store {store} --shared-store {shared} $(ARGS)

IN_POSTGRES = $(or $(POSTGRES_URL),$(filter --postgres,$(ARGS)))
demo-replay: $(VENV)/.ready
	$(if $(IN_POSTGRES),$(BIN)/python -m tools.postgres) $(BIN)/python -m penstock.demo.replaying \
		$(if $(IN_POSTGRES),--store {store}) $(filter-out --postgres,$(ARGS))

test: $(VENV)/.ready
	$(PYTEST) -n $(WORKERS) --dist worksteal \
		$(if $(filter check,$(MAKECMDGOALS)),$(addprefix --ignore=,$(HELD))) $(ARGS)

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright --project pyproject.toml
	$(BIN)/python -m tools.type_completeness
	$(PYTEST) -n $(WORKERS) --dist worksteal $(HELD)

bench: $(VENV)/.ready-bench
	$(BIN)/python -m benchmarks $(ARGS)

torture: $(VENV)/.ready
	PENSTOCK_TORTURE=1 $(PYTEST) -m torture --timeout=3600 $(ARGS)

features: $(VENV)/.ready
	@$(PYTEST) --quiet --features-report $(ARGS)

servers: $(VENV)/.ready
	$(BIN)/python -m tools.servers $(ARGS)

docs: $(VENV)/.ready
	$(BIN)/python -m tools.api_listing
	$(BIN)/python -m tools.features
	$(PYTEST) tests/test_docs.py $(ARGS)

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'
lock: $(VENV)/.ready
	$(LOCK) requirements/build.in --output-file requirements/build.txt
	$(LOCK) pyproject.toml --group dev --extra all --extra demo --overrides requirements/overrides.txt \
		--constraints requirements/build.txt --output-file requirements/dev.txt
	$(LOCK) requirements/bench.in --constraints requirements/dev.txt --output-file requirements/bench.txt

changelog: $(VENV)/.ready
	@test -n "$(VERSION)" || { echo "say which release: make changelog VERSION=0.2.0" >&2; exit 2; }
	$(BIN)/towncrier build --yes --version $(VERSION)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
