# make verify | test | test-slow | sight | bench | lint | types. Each makes the environment first, if it is not there.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: verify test test-slow sight bench lint types all
all: lint types test

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,test,dev]'
	touch $@

verify: $(READY)
	$(BIN)/portproof verify googlenet

test: $(READY)
	$(BIN)/python -m pytest -q -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

sight: $(READY)
	$(BIN)/portproof faults googlenet --count 1000 --groups 100 --seeds 10
	$(BIN)/portproof faults resnet18 --count 1000 --groups 100 --seeds 10

bench: $(READY)
	$(BIN)/portproof bench run --suite benchmarks.googlenet:SHORT

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
