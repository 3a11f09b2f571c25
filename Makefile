PYTHON ?= python3
BIN := .venv/bin
# Tests run two at a time, those of a file in one process, so that what they share is made once.
WORKERS := -n 2 --dist loadfile

.PHONY: demo test results
# The two commands of the README. Each builds .venv from nothing when it is not there.

demo: .venv/.installed
	bash examples/demo.sh

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(WORKERS)

results: .venv/.installed # tables of results/, see docs/results.md
	$(BIN)/python docs/make_results.py

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e .
	touch $@

.venv/.installed-dev: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[dev]'
	touch .venv/.installed $@
