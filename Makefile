# make demo, make test: each makes the environment if it is missing, then does its job.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SHELL  := /bin/bash
# Two tests at a time: much of a test is waiting.
TWO    := -n 2 --dist worksteal
# Whole pipelines wait even more, and take minutes: the next one goes to whoever is done.
THREE  := -n 3 --dist load --maxschedchunk 1

.PHONY: demo test test-fast test-slow check audit format env clean

# Tests start hundreds of short processes: each should find Lockgate compiled.
unexport PYTHONDONTWRITEBYTECODE

env: $(STAMP)

# torch's CPU build is enough here and a tenth of the size: pip takes it where the constraints name it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Lockgate needs Python 3.11 or later; run: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 3; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Lockgate and what it needs into $(VENV) (a few minutes, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]' 2>&1 | grep -v -i 'location.*ignored' ; exit $${PIPESTATUS[0]}
	@touch $@

demo: $(STAMP)
	@$(BIN)/python examples/flights/demo.py $(if $(KEEP),--keep) $(DEMO_ARGS)

test: test-fast test-slow

test-fast: $(STAMP)
	$(BIN)/python -m pytest -m 'not scenario' $(TWO) tests

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m scenario $(THREE) tests

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p lockgate
	$(BIN)/lint-imports

# Exactly the packages of constraints.txt, which fit one another; and no known vulnerabilities, where that can be looked up.
audit: $(STAMP)
	$(BIN)/python .ci/audit.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
