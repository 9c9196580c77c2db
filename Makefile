# Two commands matter: `make forecast` and `make test`. Both make their own virtual environment in
# .venv, install what they need at the versions of constraints.txt, and can be repeated.

PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= forecast
PYTEST_ARGS ?=
OLDEST_PYTHON ?= python3.10

BIN := $(VENV)/bin
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help forecast test oldest lint types check wheel clean

help:  ## Show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# PyTorch goes first and by its exact version: a resolver that meets it as a dependency may choose
# another build of several gigabytes.
$(BIN)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable .
	touch $@

$(BIN)/.installed-test: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable ".[test]"
	touch $@

$(BIN)/.installed-dev: $(BIN)/.installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable ".[dev]"
	touch $@

forecast: $(BIN)/.installed  ## Train on exchange rates, score beside naive baselines, draw pictures
	$(BIN)/tsdiff demo --output $(OUTPUT)

test: $(BIN)/.installed-test  ## Run all tests
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal $(PYTEST_ARGS)

# Of so old a PyTorch there is but a build for GPUs, of several gigabytes.
oldest:  ## Run all tests on the oldest versions that setup.cfg allows, in .venv-oldest
	$(OLDEST_PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c oldest.txt --editable ".[test]"
	.venv-oldest/bin/python -m pytest --numprocesses=auto --dist=worksteal $(PYTEST_ARGS)

lint: $(BIN)/.installed-dev  ## Check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(BIN)/.installed-dev  ## Check types
	$(BIN)/pyright

check: lint types test  ## Everything that a change must pass

wheel: $(BIN)/.installed-test  ## Build a wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## Remove what these targets made
	rm -rf $(VENV) .venv-oldest build dist *.egg-info .pytest_cache .ruff_cache
