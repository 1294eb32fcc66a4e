# jil-operator. `make help` lists what there is; the two that matter are `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTBED := $(PYTHON) -m testbed

.DEFAULT_GOAL := help
.PHONY: help demo env down test setup venv lint types contracts generated generate golden unit cluster faults e2e lock format fuzz trust bench

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9_-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: venv ## Set everything up and bring up one whole JIL node on kind, with a proof (CONTEXT=, REGISTRY=: an existing cluster)
	@$(BIN)/python -m testbed.demo $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(ENDPOINT),--endpoint $(ENDPOINT)) $(if $(LOGIN),--login $(LOGIN)) $(if $(YES),--yes)

env: ## Print the shell lines that reach the demo's cluster: eval $$(make -s env)
	@$(TESTBED) env

down: ## Remove what `make demo` made (CONTEXT=: only there); images and binaries stay cached
	@$(PYTHON) -m testbed.demo_down $(if $(CONTEXT),--context $(CONTEXT))

test: venv ## Set everything up and run every check and test; prints stage times and tests per layer
	@$(BIN)/python -m tests.stages

setup: ## Say what is missing on this machine, then install it
	@$(TESTBED) setup

venv: setup ## Make the Python environment from the locked requirements
	@$(TESTBED) venv

lint: ## ruff: style and format
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

format: ## Let ruff put the code into shape
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

types: ## mypy --strict
	@$(BIN)/mypy

contracts: ## import-linter: who may import whom
	@PYTHONPATH=operator $(BIN)/lint-imports --no-cache

generated: ## Are the generated files (CRDs, reference, chart copies) current?
	@PYTHONPATH=operator $(BIN)/python -m jil.api.crd --check && PYTHONPATH=operator $(BIN)/python -m jil.api.reference --check && diff -r crds charts/jil-operator/files/crds

generate: ## Write the generated files
	@PYTHONPATH=operator $(BIN)/python -m jil.api.crd --write && PYTHONPATH=operator $(BIN)/python -m jil.api.reference --write && mkdir -p charts/jil-operator/files/crds && cp crds/*.yaml charts/jil-operator/files/crds/

golden: ## Write the golden files of the renderers (read the diff before you commit it)
	@$(BIN)/python tests/unit/render/golden.py && $(BIN)/python -m tests.unit.charts.goldens --write

unit cluster e2e: ## One layer of tests
	@$(BIN)/python -m tests.stages --only $@

faults: venv ## Every crash and two-leader point, a sample of the rest, every planted bug (FULL=1: everything; resumable; docs/faults.md)
	@$(BIN)/python -m tests.faults $(if $(FULL),--full) $(if $(WORLDS),--worlds $(WORLDS)) $(if $(MINUTES),--minutes $(MINUTES))
	@JIL_FAULTS=1 $(BIN)/pytest tests/faults/test_plants.py tests/faults/test_mutations.py tests/faults/test_outages.py -q -s --timeout 7200

trust: venv ## Every refusal of an image through the operator, beside its admitted twin (the gate has a sample)
	@FULL=1 $(BIN)/python -m pytest -q tests/cluster/trust

fuzz: ## Feed the parsers of signatures with broken input for 60 seconds (FOR=)
	@PYTHONPATH=operator:. nice $(BIN)/python -m tests.unit.trust.fuzz --seconds $(or $(FOR),60)

bench: venv ## Measure the operator on the simulated rig (NODES=, PART=, PATIENCE= seconds to bring a fleet up in; docs/performance.md)
	@PYTHONPATH=operator $(BIN)/python -m bench $(if $(NODES),--nodes $(NODES)) $(if $(PART),--part $(PART)) $(if $(PATIENCE),--patience $(PATIENCE))

lock: ## Resolve the requirements anew, with hashes and without index addresses
	@for f in operator node cli dev; do $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" requirements/$$f.in -o requirements/$$f.txt || exit 1; done
