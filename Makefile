# Every target's help is the comment behind it; `make` alone prints them.
.DEFAULT_GOAL := help
.PHONY: help setup run test lint types storeys shape docs coverage bench mutation lock clean
SHELL := /bin/sh

VENV := .venv/bin
# RING=fast leaves out what needs Redis, PostgreSQL or the real model, kills processes or takes long.
RING ?= all
# STRICT=1 turns a skipped test into a failure.
STRICT ?=
# CHECK=1 makes `make docs` fail where a page is stale instead of writing it.
CHECK ?=
# What pytest gets besides, for example ARGS='-k limits -x'. SEED=n replays one simulated seed: docs/testing.md.
ARGS ?=

# Processes that share the fast ring; its tests wait about as long as they work.
JOBS ?= 4

SLOWER := real or faults or clients or browser or slow
# What needs a Redis or PostgreSQL and takes no longer than others; every process starts servers of its own.
STORES := stores and not ($(SLOWER))
PYTEST := STRICT=$(STRICT) $(VENV)/python -m pytest

EXACT_TESTS := $(foreach room,gateway limits cache usage api,tests/unit/$(room)) \
	$(wildcard tests/conformance/test_*.py) tests/api/test_single_flight.py tests/api/test_idempotency.py

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## makes .venv with the locked dependencies and the aiservice command
	@requirements/install.sh run

run: setup ## starts the service in development mode on http://127.0.0.1:5001 and asks the model one question
	@unset PYTHONDONTWRITEBYTECODE; ENVIRONMENT=development exec $(VENV)/aiservice run

test: ## all tests; RING=fast the quick ones, STRICT=1 no skips, ARGS=... for pytest
	@requirements/install.sh $(if $(filter fast,$(RING)),dev,clients)
	@$(PYTEST) -n $(JOBS) --dist worksteal -m "not (stores or $(SLOWER))" $(ARGS) || [ $$? -eq 5 ]
ifneq ($(RING),fast)
	@$(PYTEST) -n $(JOBS) --dist worksteal -m "$(STORES)" $(ARGS) || [ $$? -eq 5 ]
	@$(PYTEST) -m "$(SLOWER)" $(ARGS) || [ $$? -eq 5 ] # 5: ARGS chose none of these
endif

coverage: ## branch coverage of the exact rooms by their own tests; below 100 % fails
	@requirements/install.sh dev
	@$(VENV)/coverage run -m pytest -q -m "not ($(SLOWER))" $(EXACT_TESTS)
	@$(VENV)/coverage report

lint: ## ruff: rules and format
	@requirements/install.sh dev
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .

types: ## mypy, strict
	@requirements/install.sh dev
	@$(VENV)/mypy

storeys: # the imports alone; tests/shape is part of `make test` too
	@requirements/install.sh dev
	@$(VENV)/lint-imports

shape: storeys ## the house rules: imports, sizes, names, rooms
	@$(VENV)/python -m pytest -q tests/shape

docs: ## writes the reference pages and .env.example; CHECK=1 only compares
	@requirements/install.sh dev
	@$(VENV)/python docs/generate.py $(if $(CHECK),--check)

bench: ## measures rates, latency and CPU per request on this machine
	@requirements/install.sh dev
	@$(VENV)/python bench/run.py

mutation: ## changes the bucket and the cache key in 300 places and counts what their tests notice
	@requirements/install.sh dev
	@$(VENV)/python bench/mutation.py

lock: ## writes the dependency locks anew (needs uv)
	@requirements/lock.sh

clean: ## removes .venv and the tools' caches; data stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
