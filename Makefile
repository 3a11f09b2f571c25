PYTHON ?= python3
BIN := .venv/bin
# Tests run two at a time, those of a file in one process, so that what they share is made once.
WORKERS := -n 2 --dist loadfile
# Python's files are compiled as they are imported and then kept: all that is installed would take
# a minute, and what is not kept each process would compile anew.
PIP := $(BIN)/pip install -q --no-compile
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test types tests results docs
# The two commands of the README. Each builds .venv from nothing when it is not there.

demo: .venv/.installed
	bash examples/demo.sh

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory -j 2 types tests

types: .venv/.installed-dev # beside the tests: alone it would leave a core idle
	$(BIN)/mypy

tests: .venv/.installed-dev
	$(BIN)/python -m pytest $(WORKERS)

results: .venv/.installed # tables of results/, see docs/results.md
	$(BIN)/python docs/make_results.py

docs: .venv/.installed-docs # the site, into site/index.html; links that lead nowhere end it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/.installed-dev: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[dev]'
	touch .venv/.installed $@

.venv/.installed-docs: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[docs]'
	touch .venv/.installed $@
