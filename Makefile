# Every target sets itself up: a machine with Python 3.11+ and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
LOCKED := $(PIP) --no-deps --require-hashes
RUN ?= quickstart
SEED ?= 0
FUZZ_SECONDS ?= 60
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev quickstart test test-slow test-faults fuzz gpu-check docs lint format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml $(wildcard requirements*.txt)  # what trains and evaluates
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Rethink needs Python 3.11 or newer; this is " + sys.version)'
	@echo "Installing into $(VENV): a minute or two; 1.6 GB on disk without CUDA."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	command -v nvidia-smi || $(LOCKED) -r requirements-cpu.txt 2> /dev/null || echo "torch for a CPU alone is not to be had; taking PyPI's build"
	$(LOCKED) -r requirements.txt
	! grep -qs '^Requires-Dist: cuda-' $(VENV)/lib/python3*/site-packages/torch-*.dist-info/METADATA || $(LOCKED) -r requirements-cuda.txt
	$(PIP) --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check -q
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed constraints.txt  # what tests and lints, and every extra that a CPU can use
	$(PIP) -e '.[dev]' -c constraints.txt
	touch $@

setup: $(VENV)/.installed  ## create .venv and install the project with its pinned dependencies

setup-dev: $(VENV)/.installed-dev  ## what the tests need as well

quickstart: setup  ## train the small model on both tasks, evaluate, write the report
	@echo "Training runs/$(RUN), then evaluating it: about 11 minutes on 2 cores for a new run."
	ACCELERATE_USE_CPU=1 OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc_per_node 2 -m train \
		--config configs/quickstart.yaml --name $(RUN) --seed $(SEED) $(ARGS)
	$(BIN)/python scripts/claims.py --run runs/$(RUN)

test: setup-dev  ## the test suite (under 10 minutes on 2 cores)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n auto -m "not slow and not gpu"

test-slow: setup-dev  ## the long checks as well
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n auto -m "not faults"

fuzz: setup-dev  ## fuzz every parser and verifier, FUZZ_SECONDS each
	for target in response countdown arithmetic math completion trace detectors; do \
		HF_HUB_OFFLINE=1 $(BIN)/python tests/fuzz/fuzz.py $$target --seconds $(FUZZ_SECONDS) || exit 1; \
	done

test-faults: setup-dev  ## break runs off at random moments and resume them (6 minutes on 2 cores)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -s -m faults tests/train/lifecycle/test_faults.py

gpu-check: setup-dev  ## test and time the rollout engine on this machine's GPU: one table
	$(BIN)/python scripts/gpu_check.py $(ARGS)

docs: setup  ## build the pages of docs/ and the API reference into build/site
	$(PIP) -e '.[docs]' -c constraints.txt
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build -q --strict

lint: setup-dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup-dev  ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and the caches, never runs/
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
