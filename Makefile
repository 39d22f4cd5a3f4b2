# GoStack from the command line; `make help` says what there is. Each target is one line: what it does is in
# infra/local/ and in pyproject.toml.

# The system's interpreter where it is new enough, else a newer one beside it.
PYTHON ?= $(shell for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
LOCAL := $(or $(PYTHON),$(error Python 3.11 or newer is needed: apt-get install python3.11 python3.11-venv)) -B -m infra.local
OPTIONS = $(if $(HOSTS),--hosts $(HOSTS)) $(if $(SIMULATED),--simulated) $(if $(SUBNET),--subnet $(SUBNET)) $(if $(CEPH),--ceph)
BIN := .venv/bin
FAST := $(BIN)/pytest -q -n auto --dist worksteal -m "not real and not e2e"
# Mostly they wait for servers; a file's tests share a cluster. In order: by the count of tests the longest would come last.
REAL := $(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder --durations 25 --durations-min 5 -m real
# Those to which a server is an address; the others kill it, or look into its directory.
CONTAINED := tests/contract tests/projections --ignore tests/contract/test_driver.py

# Dozens of processes start here, each of which would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up down status logs clean setup lint test test-fast test-real test-containers test-e2e simulate bench

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 17

demo:  ## start all of it and boot a guest (HOSTS=3 SIMULATED=1 SUBNET=10.98.0.0/24 CEPH=1)
	@$(LOCAL) demo $(OPTIONS)

up:  ## start the local cluster (options as for demo)
	@$(LOCAL) up $(OPTIONS)

down:  ## stop it, guests too
	@$(LOCAL) down

status:  ## what runs, and where
	@$(LOCAL) status

logs:  ## what it said (PART=api, FOLLOW=1)
	@$(LOCAL) logs $(PART) $(if $(FOLLOW),--follow)

clean:  ## stop it and forget its data (ALL=1: what was fetched and built, too)
	@$(LOCAL) clean $(if $(ALL),--all)

setup:  ## install what is missing and make .venv
	@$(LOCAL) setup

lint: setup  ## style, types and which room may import which
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy --strict . && $(BIN)/lint-imports

test: lint  ## everything
	@$(FAST) && $(REAL) && $(BIN)/pytest -q -m "e2e and not real"

test-fast: lint  ## without servers: seconds
	@$(FAST)

test-real: setup  ## against a real Kafka, PostgreSQL and libvirt
	@$(REAL)

test-containers: setup  ## the real tests against containers (DOCKER_HOST, or a daemon of its own)
	@$(LOCAL) containers $(REAL) $(CONTAINED)

test-e2e: setup  ## the local cluster from outside
	@$(BIN)/pytest -q -m "e2e and not real"

simulate: setup  ## live through many simulated histories (HISTORIES=5000 FIRST=0)
	@PYTHONPATH=. $(BIN)/python -m tests.simulation --first $(or $(FIRST),0) --histories $(or $(HISTORIES),5000)

bench: setup  ## how fast (ONLY=boots,pages,steps; CURVE=1: with more hosts and instances; NOVA=URL, BEFORE=COMMIT: beside it)
	@$(BIN)/python -m tests.benchmarks.$(if $(BEFORE),releases $(BEFORE) $(if $(ONLY),--only $(ONLY)),$(if $(CURVE),curve,run $(if $(ONLY),--only $(ONLY)) $(if $(NOVA),--nova $(NOVA))))
