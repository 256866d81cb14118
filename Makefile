# make run     everything on this machine: environment, engines, demonstration, server
# make test    the checks and all tests, six to ten minutes on two cores once all is installed
# make load    a crowd at a sale's opening on a server of its own, and a verdict; LOAD_ARGS="--users 1000 --web"
# make faults   10,000 sockets cut, buyers on few seats while processes are killed; every invariant checked; RUNS=200 JOBS=2
# make fuzz    every documented call by chance, for so long; SECONDS=180 SEED=1
# make mutants   the scripts broken line by line, and which tale of the inventory sees it; MUTANTS=release_hold
# make constraints   renew constraints.txt from what pyproject.toml allows
# make clean   remove the environment and caches; the data in .lml stays

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
# What is compiled is kept, whatever the shell says: the tests start some eighty Python processes.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help run test load faults fuzz mutants constraints clean

# The first Python that is new enough; where there is none, python3, and the preflight says what is wrong with it.
PYTHON ?= $(shell for found in python3 python3.13 python3.12 python3.11; do \
	$$found -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$found && exit; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
# Three on two cores: tests of processes that die wait for most of their time. Each takes its share from one end, so that
# what its tests have in common (a server, a browser) is started by few.
TEST_PROCESSES ?= 3
PYTEST_ARGS ?= -q -n $(TEST_PROCESSES) --dist worksteal

# pip by itself is either silent for minutes or prints a line for each of a hundred packages: only the large ones here.
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt
PIP_PROGRESS = sed -u -n 's/^ *Downloading \([^/ ]*\)-[0-9].* (\([0-9.]* MB\))$$/  \1 (\2)/p; s/^Installing collected.*/  unpacking …/p'

help:
	@sed -n 's/^# make/make/p' Makefile

run: $(VENV)/.installed
	@exec $(BIN)/python -m lml_live.cli up

$(VENV)/.installed: pyproject.toml constraints.txt hatch_build.py lml_live/gateway/send_frame.c
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) lml_live/devstack/preflight.py
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Making the virtual environment in $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing the requirements (some 300 MB to download the first time)"
	@$(PIP_INSTALL) -e . | $(PIP_PROGRESS)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing the requirements of the tests"
	@$(PIP_INSTALL) -e '.[test]' | $(PIP_PROGRESS)
	@touch $@

# The types are checked while the tests are collected, each on a core, and told of at the end.
test: $(VENV)/.installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@said=$$(mktemp); trap 'rm -f "$$said"' EXIT; $(BIN)/mypy > "$$said" 2>&1 & types=$$!; \
	$(BIN)/python -m pytest $(PYTEST_ARGS); tests=$$?; \
	wait $$types; types=$$?; cat "$$said"; exit $$((tests || types))

$(VENV)/.installed-load: $(VENV)/.installed
	@echo "Installing the requirements of the load test"
	@$(PIP_INSTALL) -e '.[load]' | $(PIP_PROGRESS)
	@touch $@

load: $(VENV)/.installed-load
	@$(BIN)/python -m loadtests $(LOAD_ARGS)

RUNS ?= 20
SEED ?= 1
JOBS ?= 1
SOCKETS ?= 10000
faults: $(VENV)/.installed-test
	@$(BIN)/python tests/server/reconnect_storm.py --sockets $(SOCKETS) --seed $(SEED)
	@$(BIN)/python tests/booking/fault_run.py --points --runs $(RUNS) --seed $(SEED) --jobs $(JOBS)

SECONDS ?= 180
fuzz: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -q tests/server/fuzz_calls.py --fuzz-seconds $(SECONDS) --fuzz-seed $(SEED)

MUTANTS ?=
mutants: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -q tests/inventory/break_scripts.py --mutants '$(MUTANTS)'

# async-timeout: what runs on Python before 3.11.3 needs it, and this may run on a later one.
constraints: $(VENV)/.installed
	@set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(BIN)/python -m venv $$fresh; \
	$$fresh/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' async-timeout; \
	{ echo '# Exact versions of everything installed, for `pip install -c constraints.txt`. Renew: `make constraints`.'; \
	  $$fresh/bin/python -m pip list --disable-pip-version-check --format=freeze --exclude lml-live --exclude pip --exclude setuptools; } > $$fresh/new; \
	mv $$fresh/new constraints.txt; git --no-pager diff --stat constraints.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.lml/*' -prune -exec rm -rf {} +
