# `make demo` and `make test` set up all they need. PYTHON picks the interpreter (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint lab bench frontier levers lock clean
.DELETE_ON_ERROR:

demo: .venv/runtime
	$(BIN)/autoscaler demo

test: .venv/dev
	$(BIN)/python -m pytest -n auto --cov --cov-report=term:skip-covered
	$(BIN)/python -m coverage report --include='autoscaler/core/*' --fail-under=95
	$(BIN)/python -m coverage report --fail-under=90 --format=total

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev
	$(BIN)/python -m benchmarks

# Adds what `autoscaler backtest` needs.
lab: .venv/lab

# Every policy on every trace of a folder: as shipped in all standard scenarios with five seeds, and
# at all settings on three nodes with one. The figures go into docs/benchmarks.md. TRACES may also
# name generators. It takes an hour and a half on two cores.
TRACES ?= ../shared/traces
BACKTEST = $(BIN)/autoscaler backtest $(TRACES)
frontier: .venv/dev
	mkdir -p build
	$(BACKTEST) --seeds 5 --json build/matrix.json --report build/matrix.html --no-sweep
	$(BACKTEST) --sweep --scenario short-three-nodes --json build/short.json
	$(BACKTEST) --sweep --scenario long-three-nodes --json build/long.json
	$(BIN)/python -m benchmarks.frontier build/matrix.json build/short.json build/long.json \
	  docs/benchmarks.md

# The default policy with either lever, beside Elasticsearch's own scaler, for docs/benchmarks.md.
# It takes half an hour on two cores.
levers: .venv/dev
	$(BIN)/python -m benchmarks.levers $(TRACES)

# Needs uv. Hashes only: the files name no index and no address.
lock:
	uv pip compile pyproject.toml --quiet --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-header --no-annotate -o requirements.lock
	uv pip compile pyproject.toml --quiet --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-header --no-annotate --extra lab -o requirements-lab.lock
	uv pip compile pyproject.toml --quiet --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-header --no-annotate --extra dev -o requirements-dev.lock

clean:
	rm -rf .venv build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.lock pyproject.toml | .venv/bin/python
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps -e .
	touch $@

.venv/lab: requirements-lab.lock pyproject.toml | .venv/bin/python
	$(INSTALL) --require-hashes -r requirements-lab.lock
	$(INSTALL) --no-deps -e .
	touch $@ .venv/runtime

.venv/dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	$(INSTALL) --require-hashes -r requirements-dev.lock
	$(INSTALL) --no-deps -e .
	touch $@ .venv/runtime
