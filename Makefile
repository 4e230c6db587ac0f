# `make demo` and `make test` set up all they need. PYTHON selects the interpreter (3.11 to 3.13),
# VENV the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := tools/environment.sh "$(PYTHON)" $(VENV) requirements-build.lock

.PHONY: demo test test-deep smoke lint backtest-deps bench frontier modes lock types-lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/runtime
	$(BIN)/autoscaler demo

# Compiles the loops of back-tests once, before the workers of pytest start. Otherwise each worker
# compiles them, and under coverage that takes three times as long.
COMPILE_LOOPS = $(BIN)/autoscaler backtest square-wave --scenario short-three-nodes \
  --policy oracle,slo-bounds >/dev/null
PYTEST = $(BIN)/python -m pytest -n auto --dist worksteal

# The types of Elasticsearch's responses, which a test reads. Without npm, that test is skipped.
TYPES = tests/published_types
INSTALLED_TYPES = $(TYPES)/node_modules/.package-lock.json

test: $(VENV)/dev $(if $(shell command -v npm),$(INSTALLED_TYPES))
	$(COMPILE_LOOPS)
	$(PYTEST) -m "not deep" --cov --cov-report=term:skip-covered
	$(BIN)/python -m coverage report --include='autoscaler/core/*' --fail-under=95
	$(BIN)/python -m coverage report --fail-under=90 --format=total

# The tests that take long even without coverage; `.ci/run` runs both.
test-deep: $(VENV)/dev
	$(COMPILE_LOOPS)
	$(PYTEST) -m deep

# What an installation can do with this interpreter: first with the daemon's own requirements, then
# with all. `.ci/run` does it with each supported interpreter of the machine.
smoke: $(VENV)/runtime
	$(BIN)/autoscaler --version
	$(BIN)/autoscaler demo --duration 5
	$(MAKE) --no-print-directory VENV=$(VENV) $(VENV)/dev
	$(BIN)/autoscaler backtest square-wave --policy slo --scenario short-one-node
	$(BIN)/python -m pytest -q -n0 tests/test_locks.py tests/test_cli.py

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks

# Adds what `autoscaler backtest` needs.
backtest-deps: $(VENV)/backtest

# Every policy on every trace of a folder: with default settings in all standard scenarios with five
# seeds, and at all settings on three nodes with one seed, for docs/benchmarks.md. TRACES may also
# name generators. It takes an hour and a half on two cores.
TRACES ?= ../shared/traces
BACKTEST = $(BIN)/autoscaler backtest $(TRACES)
frontier: $(VENV)/dev
	mkdir -p build
	$(BACKTEST) --seeds 5 --json build/matrix.json --report build/matrix.html --no-sweep
	$(BACKTEST) --sweep --scenario short-three-nodes --json build/short.json
	$(BACKTEST) --sweep --scenario long-three-nodes --json build/long.json
	$(BIN)/python -m benchmarks.frontier build/matrix.json build/short.json build/long.json \
	  docs/benchmarks.md

# The default policy in both control modes, and adaptive allocations, for docs/benchmarks.md.
# It takes half an hour on two cores.
modes: $(VENV)/dev
	$(BIN)/python -m benchmarks.modes $(TRACES)

# Needs uv. Hashes only: the files contain no index and no address. Pinned versions stay as they
# are unless pyproject.toml excludes them; `make lock UPGRADE="--upgrade-package aiohttp"` raises one.
# The locks share one environment, so all have the versions of requirements-dev.lock.
UPGRADE :=
COMPILE = uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
  --no-strip-extras --no-emit-index-url --no-header --no-annotate $(UPGRADE)
lock:
	$(COMPILE) pyproject.toml --extra dev -o requirements-dev.lock
	$(COMPILE) pyproject.toml --extra backtest -c requirements-dev.lock -o requirements-backtest.lock
	$(COMPILE) pyproject.toml -c requirements-dev.lock -o requirements.lock
	$(COMPILE) --group build -c requirements-dev.lock -o requirements-build.lock

# Needs npm. After a change of package.json; this lock contains no address of a registry either.
types-lock:
	cd $(TYPES) && npm install --package-lock-only

clean:
	rm -rf .venv build dist $(TYPES)/node_modules *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache

$(INSTALLED_TYPES): $(TYPES)/package.json $(TYPES)/package-lock.json
	cd $(TYPES) && npm ci --loglevel=error
	@touch $@

$(VENV)/runtime: requirements-build.lock requirements.lock pyproject.toml
	@$(INSTALL) requirements.lock
	@touch $@

$(VENV)/backtest: requirements-build.lock requirements-backtest.lock pyproject.toml
	@$(INSTALL) requirements-backtest.lock
	@touch $@ $(VENV)/runtime

$(VENV)/dev: requirements-build.lock requirements-dev.lock pyproject.toml
	@$(INSTALL) requirements-dev.lock
	@touch $@ $(VENV)/runtime
