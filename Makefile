# Everything a developer or CI does. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?=
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test check bench limits chaos soak storms jaeger clean lock long

help:  ## what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/.installed: pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Consort needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/.installed-dev: $(BIN)/.installed requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.lock
	@touch $@

demo: $(BIN)/.installed  ## one real run: a bus, an orchestrator, five agents, a report
	@$(BIN)/consort run examples/market-analysis/plan.yaml

test: $(BIN)/.installed-dev  ## the whole test suite, against real servers and processes, WORKERS tests at a time
	@$(BIN)/python -m pytest -n $(WORKERS)

check: $(BIN)/.installed-dev  ## formatting, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(BIN)/.installed-dev  ## latency and throughput beside a bare loop; OUT=file.json keeps the figures
	@$(BIN)/python -m benchmarks $(if $(OUT),--out $(OUT))

limits: $(BIN)/.installed-dev  ## twenty processes behind one key with 60 requests a minute, for two minutes; OUT=file.json keeps the figures
	@$(BIN)/python -m benchmarks.limits $(if $(OUT),--out $(OUT))

chaos: $(BIN)/.installed-dev  ## faults over whole systems, 200 seeds or ten minutes; OUT=file.json keeps the report
	@$(BIN)/consort chaos --seeds 200 --runs 8 --storm 1s --time 10m $(if $(OUT),--out $(OUT))

soak: $(BIN)/.installed-dev  ## work without end, every process replaced, nothing may grow; CONSORT_SOAK_SECONDS=180 and a minute more
	@$(BIN)/python -m pytest -m soak -s tests/system/test_soak.py

long: $(BIN)/.installed-dev  ## tests of whole systems that `make test` leaves out
	@$(BIN)/python -m pytest -n $(WORKERS) -m long

storms: $(BIN)/.installed-dev  ## agents that think, killed and frozen at random instants; CONSORT_STORM_WAVES=10 of four runs each
	@$(BIN)/python -m pytest -m soak -s tests/system/test_thinking_storms.py

JAEGER := github.com/jaegertracing/jaeger
JAEGER_VERSION ?= v1.76.0
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/consort/jaeger

jaeger:  ## build Jaeger (needs Go; some minutes, once), to look at traces and for the tests that want a real one
	@command -v go >/dev/null || { echo "make jaeger needs Go, see https://go.dev/doc/install" >&2; exit 1; }
	@mkdir -p $(CACHE)/build && cd $(CACHE)/build && test -f go.mod || (cd $(CACHE)/build && go mod init build 2>/dev/null)
	@cd $(CACHE)/build && GOFLAGS=-mod=mod go get $(JAEGER)/cmd/jaeger@$(JAEGER_VERSION)
	@cd $(CACHE)/build && GOFLAGS=-mod=mod GOBIN=$(CACHE) go install $(JAEGER)/cmd/jaeger
	@echo "$(CACHE)/jaeger"

lock:  ## pin the versions of all dependencies anew (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra specialists --group build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra specialists --group build --group dev pyproject.toml -o requirements-dev.lock

clean:  ## remove the environment, caches and local data
	rm -rf $(VENV) .consort build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
