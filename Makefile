# Everything a checkout needs, from python3, make and a compiler on. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
# An active environment must not change what runs here.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP VIRTUAL_ENV CONDA_PREFIX
# Processes that run tests at once. Many tests wait for leases and servers: on two cores four are faster than three.
WORKERS := 4
# Extra arguments, such as `make shop ARGS="--profile servers"` or `make test ARGS="-k outbox"`.
ARGS :=
# How long `make soak` disturbs the shop.
MINUTES := 10

.PHONY: help setup shop test test-growth heal heal-all heal-replay heal-upgrade faults soak servers lint bench docs requirements clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: .venv/.stamp-dev ## make .venv with everything for running, testing and linting

shop: .venv/.stamp-base ## set everything up and run the reference shop
	.venv/bin/shop run $(ARGS)

test: .venv/.stamp-servers .venv/.stamp-docs ## set everything up, servers included, and run the tests
	$(PYTHON) -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

test-growth: .venv/.stamp-servers ## run the tests with a hundred thousand rows, which `make test` leaves out
	$(PYTHON) -m pytest -m growth $(ARGS)

heal: .venv/.stamp-servers ## begin and end every fault of the shop on both profiles, and check that it heals
	$(PYTHON) -m tests.heal $(ARGS)

heal-all: .venv/.stamp-servers ## the same with faults that last a minute, under more load
	$(PYTHON) -m tests.heal --hold 60 --rate 10 $(ARGS)

heal-replay: .venv/.stamp-servers ## replay the retail files on MariaDB while servers and processes are killed, and verify
	$(PYTHON) -m tests.heal.killed_replay $(ARGS)

heal-upgrade: .venv/.stamp-servers ## kill a shop from before the first release, upgrade it, verify it
	$(PYTHON) -m tests.heal.prerelease $(ARGS)

soak: .venv/.stamp-servers ## random faults against the whole shop under load, for MINUTES on each profile, and verify
	$(PYTHON) -m tests.soak --minutes $(MINUTES) $(ARGS)

faults: .venv/.stamp-servers ## crash points, simulated seeds and planted bugs, where the last run stopped; ARGS="--seconds 600"
	$(PYTHON) -m tests.faults $(ARGS)

servers: .venv/.stamp-servers ## run real PostgreSQL and NATS until ctrl-c, and print where they are
	@exec $(PYTHON) -m freehold_shop.servers .freehold/servers

lint: .venv/.stamp-dev ## check style, types and import rules
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache --no-logo

bench: .venv/.stamp-servers .venv-peers/.stamp ## run the benchmarks
	@exec $(PYTHON) -m benchmarks $(ARGS)

docs: .venv/.stamp-docs ## build the documentation into site/
	.venv/bin/zensical build --clean --strict

requirements: ## compile the hashed requirement files again; ARGS=--upgrade for newer versions
	PATH="$(CURDIR)/.tools/uv/bin:$$PATH" scripts/compile-requirements $(ARGS)

clean: ## remove what was built and cached; data in .freehold stay
	rm -rf .venv .venv-peers .tools site dist build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src shop tests -type d -name __pycache__ -prune -exec rm -rf {} +

projects := pyproject.toml shop/pyproject.toml requirements/tools.txt scripts/setup

.venv/.stamp-base: requirements/base.txt $(projects)
	scripts/setup base
	@touch $@

.venv/.stamp-dev: requirements/dev.txt .venv/.stamp-base
	scripts/setup dev
	@touch $@

.venv/.stamp-docs: requirements/docs.txt .venv/.stamp-base
	scripts/setup docs
	@touch $@

.venv/.stamp-servers: scripts/get-servers .venv/.stamp-dev
	scripts/get-servers
	@touch $@

# Only the benchmarks use it. Where it cannot be made they leave the peers out, and say so.
.venv-peers/.stamp: requirements/peers.txt scripts/setup .venv/.stamp-base
	@{ scripts/setup peers && touch $@; } || echo "bench: the peers cannot be installed, see above" >&2
