# `make demo` and `make test` set up all they need. PYTHON picks the interpreter (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint bench lock clean
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

# Needs uv. Hashes only: the files name no index and no address.
lock:
	uv pip compile pyproject.toml --quiet --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-header --no-annotate -o requirements.lock
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

.venv/dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	$(INSTALL) --require-hashes -r requirements-dev.lock
	$(INSTALL) --no-deps -e .
	touch $@ .venv/runtime
