# SPDX-License-Identifier: Apache-2.0
# Every target sets up what it needs by itself; `make` alone lists them.

SHELL := /bin/bash
PYTHON ?=
export PYTHON
BIN := .venv/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint docs bench clean

# Says what comes next, then does it.
say = @printf '\n== %s\n' "$(1)"

define run-lint
$(call say,lint: ruff check)
$(BIN)/ruff check .
$(call say,lint: ruff format --check)
$(BIN)/ruff format --check .
$(call say,lint: imports go down the floors only)
$(BIN)/python tools/check_floors.py
$(call say,types: mypy --strict)
$(BIN)/mypy
endef

define run-docs
$(call say,docs: every page without a warning)
$(BIN)/python -m sphinx -W -n --keep-going -q -b html -d docs/_build/doctrees docs docs/_build/html
endef

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo:  ## set up, then back up a folder with a flow that is killed on the way and resumed
	@tools/setup.sh demo
	$(call say,demo: examples/backup_folder.py)
	$(BIN)/python examples/backup_folder.py --demo

test:  ## set up, then all checks: lint, types, tests with coverage, docs
	@tools/setup.sh test
	$(run-lint)
	$(call say,tests with branch coverage)
	$(BIN)/python -m pytest --cov=taskflow --cov-branch --cov-report=term
	$(run-docs)

lint:  ## set up, then style, import directions and types
	@tools/setup.sh test
	$(run-lint)

docs:  ## set up, then build the documentation into docs/_build/html
	@tools/setup.sh test
	$(run-docs)
	@printf 'docs: open docs/_build/html/index.html\n'

bench:  ## set up, then run the benchmarks
	@tools/setup.sh test
	$(call say,benchmarks)
	$(BIN)/python -m benchmarks

clean:  ## remove .venv and everything that the other targets made
	rm -rf .venv .tox build dist docs/_build htmlcov .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
