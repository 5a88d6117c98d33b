# Every target creates or reuses one .venv and needs nothing but make and Python 3.11 or newer.
# The plain way without make is in README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.runs
STAMP := $(VENV)/.installed

# Compiled modules are kept, whatever the surroundings say: without them each of the hundreds of
# processes of a test run starts 0.8 s later.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo 'PYTHON=python3.13 chooses the interpreter, ARGS="..." is passed on (test, bench, demo, up), PROCESSES=0 runs tests in one process.'

.PHONY: venv
venv: $(STAMP) ## create or update .venv

PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt

# Runs when the stamp is missing or older than what it stands for. A working .venv is kept, so to
# change the interpreter say `make clean venv PYTHON=...`.
$(RUNS): pyproject.toml constraints.txt
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo "make: there is no '$(PYTHON)'. Install Python 3.11 or newer, or name it: make venv PYTHON=/path/to/python3"; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is $$('$(PYTHON)' -V 2>&1), and 3.11 or newer is needed. Name one: make venv PYTHON=python3.13"; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot create environments: its module 'ensurepip' is missing."; \
	  echo "      Debian and Ubuntu keep it in a package of its own: apt install python3-venv"; exit 1; }
	@echo '--- .venv: installing what stream-enforcer needs (about 160 MB to download, most of it a Java runtime for the local Kafka and a compiler; half a minute where the network is good)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || '$(PYTHON)' -m venv --clear $(VENV)
	$(PIP) -e '.[local,signing]'
	@touch $@

# What only developing needs. Kernels compile meanwhile.
$(STAMP): $(RUNS)
	$(PIP) -e '.[dev]'
	@touch $@

.PHONY: demo
demo: $(RUNS) ## watch a fleet of agents, one of them going bad, on a real Kafka and a real Valkey
	$(BIN)/enforcer demo $(ARGS)

.PHONY: up
up: $(RUNS) ## start a Kafka, a Valkey and a worker on this machine
	$(BIN)/enforcer up $(ARGS)

.PHONY: warm
warm: $(RUNS) ## compile the kernels, and read Kafka's classes, ahead
	$(BIN)/enforcer warm --servers

# Tests run in so many processes: more than small machines have cores, since most of them wait.
# They share what `warm` compiles; PROCESSES=0 runs them in one, as a debugger wants it.
PROCESSES ?= 3
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) $(if $(CI),--durations=25 --durations-min=3)

.PHONY: test
test: warm $(STAMP) ## run all tests, with those on real servers
	$(PYTEST) -m 'not soak' $(ARGS)

.PHONY: test-fast
test-fast: warm $(STAMP) ## run the tests that need no server
	$(PYTEST) -m 'not soak and not integration' $(ARGS)

# What has kernels, and no detector that takes minutes as plain Python.
KERNELS := tests/property tests/unit/profiles tests/unit/records tests/unit/test_kernel.py \
  $(foreach each,alarms brake candidate full_ledger learned policy signed,--ignore=tests/property/test_$(each).py)
.PHONY: nojit
nojit: $(STAMP) ## run the tests of kernels as plain Python
	NUMBA_DISABLE_JIT=1 HYPOTHESIS_PROFILE=nojit $(BIN)/python -m pytest \
	  -m 'not soak and not integration' $(KERNELS) $(ARGS)

.PHONY: soak
soak: $(STAMP) ## run the tests that take minutes
	$(BIN)/python -m pytest -m soak $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP) ## put a million hostile inputs through everything that reads
	$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: fuzz-plain
fuzz-plain: $(STAMP) ## compare the kernel that reads events with msgspec, on ten million payloads
	$(BIN)/python -m tests.fuzz.plain $(ARGS)

.PHONY: check check-lint check-format check-types check-tidy
check: check-lint check-format check-types check-tidy ## ruff, formatting, types, and the tidy test

check-lint: $(STAMP)
	$(BIN)/ruff check

check-format: $(STAMP)
	$(BIN)/ruff format --check

check-types: $(STAMP)
	$(BIN)/mypy

check-tidy: $(STAMP)
	$(BIN)/python -m pytest -q tests/test_tidy.py

.PHONY: bench
bench: $(STAMP) ## measure throughput beside its floor and its peers, in one run
	$(BIN)/python -m benchmarks.throughput $(ARGS)

# The other questions; each is `python -m benchmarks.NAME` too.
BENCHES := throughput hot scale latency recovery growth learned
.PHONY: bench-all
bench-all: $(STAMP) ## measure everything, for an hour or two
	@failed=0; for each in $(BENCHES); do \
	  $(BIN)/python -m benchmarks.$$each $(ARGS) || failed=1; done; exit $$failed

.PHONY: bench-short
bench-short: warm $(STAMP) ## each benchmark for some seconds: shows that it runs, proves no figure
	$(BIN)/python -m benchmarks.short $(ARGS)

.PHONY: soak-long
soak-long: $(STAMP) ## half of full load for half an hour, a worker killed every minute
	$(BIN)/python -m benchmarks.soak $(ARGS)

.PHONY: faults
faults: $(STAMP) ## kill, stop, cut and fill servers and workers for some 40 minutes; count what is lost
	$(BIN)/python -m benchmarks.faults $(ARGS)

.PHONY: faults-short
faults-short: $(STAMP) ## the same in some minutes
	$(BIN)/python -m benchmarks.faults --short $(ARGS)

.PHONY: sim
sim: $(STAMP) ## run thousands of simulated seeds, every fault of sweeps, and every deliberate bug
	$(BIN)/python -m benchmarks.simulation $(ARGS)

.PHONY: sim-short
sim-short: warm $(STAMP) ## 300 short seeds and a bug, for CI
	nice -n 19 $(BIN)/python -m benchmarks.simulation --short $(ARGS)

.PHONY: clean
clean: ## remove .venv, caches and builds
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
