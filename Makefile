# The same commands for people and for CI. Each sets up what it needs in $(VENV) first.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CORE   := $(VENV)/.stamp-core
DEV    := $(VENV)/.stamp-dev
SOURCES := $(wildcard src tests docs_src scripts)
# How `make bench` runs; for two benches: make bench BENCH="--only b1,b2 --json out-1.json"
BENCH  ?= --json out.json

UV := $(shell command -v uv 2>/dev/null)
ifdef UV
make_venv = "$(UV)" venv --quiet --allow-existing --python "$(PYTHON)" $(VENV)
install = "$(UV)" pip install --quiet --python $(BIN)/python
else
make_venv = "$(PYTHON)" -m venv $(VENV)
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.DEFAULT_GOAL := help
.PHONY: help run test unit seeds check format docs bench clean

help:  ## list these commands
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'sidetask needs Python 3.11 or newer; try: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(make_venv)

$(CORE): pyproject.toml | $(BIN)/python
	$(install) -e .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(install) -e '.[dev]'
	@touch $(CORE) $@

run: $(CORE)  ## chat in the terminal (installs the core only)
	$(BIN)/sidetask chat

test: $(DEV)  ## unit suite with branch coverage of at least 95 %, then the seeds
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report
	$(MAKE) --no-print-directory seeds

unit: $(DEV)  ## unit suite alone; make unit ARGS="-k detach"
	$(BIN)/python -m pytest $(ARGS)

seeds: $(DEV)  ## the scenarios that run under many seeds
	$(BIN)/python -m pytest -m seeds $(ARGS)

.PHONY: wires
wires: $(DEV) tests/wires/node_modules  ## the wires of the providers, against aimock (needs node)
	$(BIN)/python -m pytest -m wires tests/wires $(ARGS)

.PHONY: postgres
postgres: $(DEV)  ## the stores in Postgres, which a wheel brings along
	$(BIN)/python -m pytest -m postgres tests/stores tests/client tests/durable/crashes $(ARGS)

# Playwright's greenlets and pytest's own tracebacks, which parse the source, break Python 3.11.
.PHONY: browser
browser: $(DEV)  ## the page of the guide, in Chromium
	$(BIN)/python -m pytest --tb=native -m browser tests/server $(ARGS)

.PHONY: durable soak
durable: $(DEV)  ## programs that are killed and go on, and the durable engine
	$(BIN)/python -m pytest -o faulthandler_timeout=900 -m durable tests/durable tests/engines $(ARGS)

.PHONY: crashes
crashes: $(DEV)  ## a crash before and after each write of many stories
	$(BIN)/python -m pytest -s -m "crashes and not postgres" tests/durable/crashes $(ARGS)

# A round that went wrong is run again by its dice: SIDETASK_DICE=1 SIDETASK_ROUND=4 make soak
soak: $(DEV)  ## the same, killed a hundred times: one process, and a home with two workers
	SIDETASK_KILLS=100 $(BIN)/python -m pytest -s -o faulthandler_timeout=0 -m durable \
		tests/durable/test_kill.py tests/durable/soak $(ARGS)

# Without npm, or when it fails, the tests say that they are skipped and why.
tests/wires/node_modules: tests/wires/package-lock.json
	-@cd tests/wires && npm ci --ignore-scripts --silent && touch node_modules

check: $(DEV)  ## lint, format, types, imports, docs
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_docs.py --check
	$(BIN)/python scripts/check_docs.py

format: $(DEV)  ## put the code in the house's format
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

docs: $(DEV)  ## regenerate the diagrams and the examples shown in the docs
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python scripts/check_docs.py --write

bench: $(DEV)  ## overheads beside those of hand-written asyncio, and their targets
	@test -d bench || { echo 'make bench needs the bench/ directory, which is not here' >&2; exit 1; }
	cd bench && ../$(BIN)/python report.py $(BENCH)

clean:  ## remove environments, caches and reports
	rm -rf .venv .venv-* build dist .coverage .coverage.* htmlcov
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
