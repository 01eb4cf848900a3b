# Two commands on a fresh machine: `make smoke`, then look at runs/smoke/report.html. `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help setup smoke test test-unit test-integration test-exhaustive bench dashboard lint format lock clean

VENV := $(or $(THOR_VENV),.venv)
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
PORT ?= 8700
# Arguments for the command behind a target, as in: make smoke ARGS="--seed 1"
ARGS ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Build .venv (THOR_EXTRA=gpu for NVIDIA GPUs); quick when it is up to date
	@sh deploy/setup.sh

smoke: setup ## Run the whole loop on this machine: make smoke ARGS="--seed 1"
	@$(BIN)/thor smoke $(ARGS)

test: setup ## Run the tests
	@$(MAKE) --no-print-directory test-unit test-integration

test-unit: ## Run the unit tests, in parallel
	@$(PYTEST) tests/unit -n auto --maxprocesses=8 --timeout=120 $(ARGS)

test-integration: ## Run the tests with real Ray, vLLM, DeepSpeed and sandbox, one after the other
	@$(PYTEST) $(wildcard tests/integration tests/e2e) -m "not exhaustive" $(ARGS)

test-exhaustive: setup ## Run what `make test` leaves out: the same checks at full size, for minutes each
	@$(PYTEST) tests -m exhaustive $(ARGS)

bench: setup ## Measure speed, side by side
	@set -e; for bench in benches/*.py; do echo "== $$bench"; $(BIN)/python "$$bench"; done

dashboard: setup ## Show the runs below runs/ in a browser: make dashboard PORT=8700 ARGS="smoke"
	@$(BIN)/thor dashboard --port $(PORT) $(ARGS)

lint: setup ## Check style, formatting, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: setup ## Format the code and apply the safe fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: setup ## Resolve deploy/constraints-cpu.txt anew from pyproject.toml
	@$(BIN)/python deploy/environment.py --lock

clean: ## Remove caches and build leftovers; .venv and runs/ stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
