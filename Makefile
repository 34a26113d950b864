# Two commands matter: `make demo` and `make test`. Both need only python3 (>= 3.11) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLI := $(BIN)/retrain-eval
EDITION := 2026
STUDIES := joblessness training_grants nsw

.DEFAULT_GOAL := help
.PHONY: help demo agency test test-slow lint lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# the stamp holds what was installed, so that a changed lock or package definition installs anew
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 >= 3.11 is needed, this is " + sys.version.split()[0])'
	@echo "Installing into $(VENV) (once; about two minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock || { \
	  echo "error: the locked packages could not be installed. The first run needs a network or a package index" \
	    "that holds them; afterwards everything works offline. Nothing was changed but $(VENV)."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.installed ## the NSW study on real data, from raw records to the built report, verified
	@for study in $(STUDIES); do \
	  $(CLI) run analyses/$$study && $(CLI) release analyses/$$study --edition $(EDITION) --replace || exit 1; \
	done
	@$(CLI) report analyses/nsw --edition $(EDITION)
	@$(CLI) verify analyses/nsw/release/$(EDITION)

agency: $(VENV)/.installed ## the synthetic agency: quarterly wage records to the built report
	@test -f analyses/agency/plan.json || $(CLI) plan analyses/agency
	@$(CLI) run analyses/agency && $(CLI) release analyses/agency --edition $(EDITION) --replace
	@$(CLI) report analyses/agency --edition $(EDITION)

test: $(VENV)/.installed ## lint, types and the default tests
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-slow: $(VENV)/.installed ## simulations and repeated builds
	@$(BIN)/python -m pytest -m slow -n auto --dist worksteal

lint: $(VENV)/.installed ## ruff, mypy --strict and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# extras stay in the lock: pip refuses an unpinned `coverage[toml]` as soon as a newer coverage than the locked one exists
lock: ## refresh requirements.lock (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-emit-index-url --no-header --python-version 3.11 \
	  --extra demo --extra dev pyproject.toml -o requirements.lock

clean: ## remove the environment and everything the studies made
	rm -rf $(VENV) analyses/*/data analyses/*/store analyses/*/release analyses/*/report analyses/*/plan.json
