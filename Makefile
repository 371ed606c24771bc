# Everything a developer types. Nothing here needs the network once .venv is installed.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080
MODE ?= live
STORE ?= sqlite
MINUTES ?= 30
ARGS ?=

BIN := .venv/bin
RUN := .venv/installed-run
DEV := .venv/installed-dev
BENCH := .venv/installed-bench

.DEFAULT_GOAL := help
.PHONY: help run fakeexchange test unit servers check bench soak clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

run: $(RUN) ## Three fake exchanges and the service, until Ctrl-C [PORT=8080 MODE=live|test HOST=127.0.0.1 STORE=sqlite|postgres]
	@exec $(BIN)/python -m tools.run --host $(HOST) --port $(PORT) --mode $(MODE) --store $(STORE)

fakeexchange: ## The three fake exchanges alone [ARGS="--port 40101 --faults drop,garbage"]
	@exec $(PYTHON) -m fakeexchange $(ARGS)

test: servers $(DEV) ## All tests [ARGS="-k window"]
	@exec $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

unit: servers $(DEV) ## The tests that do not start the service [ARGS=...]
	@exec $(BIN)/python -m pytest -m "not slow" $(ARGS)

servers: ## Are PostgreSQL, Redis, Chromium and Prometheus installed? Installs them if it may: root, with apt-get
	@$(PYTHON) -m tools.binaries

check: $(DEV) ## Formatter, linter, types, and who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict marketflow fakeexchange
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_documentation.py tests/test_openapi.py

bench: servers $(BENCH) ## How fast it is, beside references: a table, also in bench/results.md [ARGS="--only http,fed --rounds 1"]
	@$(PYTHON) -m bench.binaries
	@exec $(BIN)/python -m bench $(ARGS)

soak: $(RUN) ## The service at the real rate: is everything flat at the end? [MINUTES=30]
	@exec $(BIN)/python -m bench.soak --minutes $(MINUTES)

clean: ## Delete .venv and caches; var/, where the data is, stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN): requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v < (3, 11) and sys.exit("marketflow needs Python 3.11 or newer, was %d.%d: make PYTHON=..." % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

$(DEV): $(RUN) requirements-dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(BENCH): $(RUN) requirements-bench.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-bench.txt
	@touch $@
