# Everything from a fresh clone: each target first makes the environment it needs (Python 3.11 or newer, a
# virtual environment in .venv). As root on a Debian-like machine it also installs missing system tools.
# `make PYTHON=/path/to/python3.12 test` chooses another Python, `make VENV=elsewhere test` another place.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?=
JOBS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := $(VENV)/.tools
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

# Commands that tests and benchmarks run, and the Debian packages that have them.
SYSTEM_COMMANDS := ip tc nft bpftool ipset iptables curl
SYSTEM_PACKAGES := iproute2 nftables bpftool ipset iptables curl

.PHONY: help setup demo test test-all bench mutants lint format docs clean

help:
	@echo "make demo      policies at work: compiled, loaded, judging real packets (root), or simulated"
	echo "make test      all tests but the long ones"
	echo "make test-all  all tests"
	echo "make bench     speed, as ratios within one run; QUICK=1: under five minutes"
	echo "make mutants   plant faults and see that the tests catch each"
	echo "make lint      style, types, import contracts"
	echo "make format    put the Python files into the one format"
	echo "make docs      write the generated pages of docs/"
	echo "make clean     remove what the other targets made"

setup: $(READY) $(TOOLS)

demo: $(READY) $(TOOLS)
	@$(BIN)/lockgate demo

test: $(READY) $(TOOLS)
	@$(PYTEST) -m "not exhaustive"

test-all: $(READY) $(TOOLS)
	@$(PYTEST)

bench: $(READY) $(TOOLS)
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

mutants: $(READY) $(TOOLS)
	@$(BIN)/python -m tests.mutants

lint: $(READY)
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	@$(BIN)/python docs/generate.py

clean:
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find examples -name '*.bundle' -delete

# The environment: a Python that is new enough, its packages, this project in place.
$(READY): pyproject.toml
	@is_new_enough() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
	has_venv() { "$$1" -c 'import ensurepip, venv' 2>/dev/null; }
	can_install() { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
	find_python() {
	  local candidate
	  for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do
	    if is_new_enough "$$candidate"; then command -v "$$candidate"; return; fi
	  done
	}
	python=$$(find_python)
	if [ -z "$$python" ]; then
	  echo "lockgate needs Python 3.11 or newer, and found none; install one, or say where it is:" >&2
	  echo "  make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2
	  exit 1
	fi
	if ! has_venv "$$python"; then
	  if can_install; then
	    echo "installing python3-venv" >&2
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null \
	      || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; } || true
	  fi
	  if ! has_venv "$$python"; then
	    echo "$$python cannot make virtual environments; on Debian: apt-get install python3-venv" >&2
	    exit 1
	  fi
	fi
	[ -x $(BIN)/python ] || { echo "making $(VENV) with $$python" >&2; "$$python" -m venv $(VENV); }
	echo "installing lockgate and its tools into $(VENV)" >&2
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

# System tools that some tests drive. Without them, those tests are skipped and say which tool they miss.
$(TOOLS): $(READY)
	@PATH=$$PATH:/usr/sbin:/sbin
	missing=""
	for tool in $(SYSTEM_COMMANDS); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done
	if [ -n "$$missing" ]; then
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	    echo "installing $(SYSTEM_PACKAGES) for the tests (missing:$$missing)" >&2
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(SYSTEM_PACKAGES); } >/dev/null \
	      || echo "could not install them; tests that need$$missing are skipped" >&2
	  else
	    echo "tests that need$$missing are skipped; on Debian: apt-get install $(SYSTEM_PACKAGES)" >&2
	  fi
	fi
	touch $@
