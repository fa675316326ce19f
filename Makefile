# Needs Python, make and a package index; everything else is installed below this folder.
PYTHON ?= python3
# Those that the locked packages come built for.
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "Python 3.11 to 3.14 is needed; %s is %s. Set PYTHON=/path/to/python3.14." % (sys.executable, sys.version.split()[0]))'
# The uv on PATH, else one of our own. Its version is pinned so that the lock file is read as it was written.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
UV_VERSION := 0.13.9
READY := .venv/.ready
# For example: make validate ARGS="--scenario sceptical --seed 2"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup validate test soak audit example rehearse

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: uv-path
uv-path: $(filter .tools/%,$(UV))
	@echo $(abspath $(UV))

setup: $(READY) ## install everything into .venv/, once

validate: $(READY) ## drive the traffic through the cache on a real Valkey; verdict table and report/
	@.venv/bin/python -m loadtest validate $(ARGS)

test: $(READY) ## run every test, the linter and the type checker
	@.venv/bin/python -m pytest -n 3 --dist worksteal $(ARGS)

soak: $(READY) ## what is too long for `test`: stale reads, fuzzing, 100,000 users, a million rows, alarms on new runs
	@for seed in 1 2 3 4 5; do .venv/bin/python -m tests.behaviour.model --seed $$seed $(ARGS) || exit 1; done
	@.venv/bin/python -m pytest -n 2 -m hypothesis --hypothesis-profile=soak --timeout=0 tests/cache
	@.venv/bin/python -m loadtest size --users 100000
	@.venv/bin/python -m tests.cache.test_postgres_source
	@.venv/bin/python -m scripts.rehearse_alarms --stack prod --fresh --runs report/runs

example: $(READY) ## run the example application on a database, a cache and an enrichment stand-in of its own
	@.venv/bin/python -m examples $(ARGS)

rehearse: $(READY) ## the stack on this machine: up, warm, load test, report, destroy; needs the command pulumi
	@.venv/bin/python -m local rehearse $(ARGS)

audit: $(READY) $(filter .tools/%,$(UV)) ## run Checkov and Prowler on what the stacks declare
	@.venv/bin/python -m tests.audit --uv $(UV) $(ARGS)

$(READY): pyproject.toml uv.lock $(filter .tools/%,$(UV))
	@$(CHECK_PYTHON)
	@echo "Setting up .venv/, once …" >&2
	@$(UV) sync --quiet --frozen --python $(PYTHON)
	@touch $@
	@echo "Ready. For the commands python -m … of the documentation: source .venv/bin/activate" >&2

.tools/bin/uv:
	@$(CHECK_PYTHON)
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip >/dev/null
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action ignore --target .tools uv==$(UV_VERSION)
	@touch $@
