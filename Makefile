# Two commands do all the set-up: `make demo` and `make test`. Both need Python 3.11+, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo up test test-all lint format bench soak notebook lock clean

help: ## What there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(INSTALLED): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "etl-assets needs Python 3.11 or newer; set PYTHON=python3.x")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED) ## Two market days of everything, offline, with a summary
	@$(BIN)/etl-assets demo

up: $(INSTALLED) ## Dagster's pages at http://127.0.0.1:3000, its daemon, the page and the API at http://127.0.0.1:8000
	@$(BIN)/etl-assets up

test: $(INSTALLED) ## The offline suite
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not servers and not browser and not node"

test-all: $(INSTALLED) ## The offline suite, the tests that start Dagster's own servers, a browser or Node
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(INSTALLED) ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m mypy

format: $(INSTALLED) ## Let ruff format and mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(INSTALLED) ## Speed, as ratios against references in the same process
	@$(BIN)/python -m benchmarks

soak: $(INSTALLED) ## A simulated week with every fault, kills and load, and its verdict: SEED=1 DAYS=7 EVERY=60
	@$(BIN)/python -m soak --seed $(or $(SEED),1) --days $(or $(DAYS),7) --every $(or $(EVERY),60)

notebook: $(INSTALLED) ## Five questions answered from warehouse.duckdb, in the browser
	@$(BIN)/marimo run notebooks/market_and_buildings.py

lock: ## Pin dependencies anew (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --no-annotate --no-header --extra dev --extra notebook pyproject.toml -o requirements.lock

clean: ## Remove the virtual environment and caches, not the data
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
