# The commands of the README. `make demo` and `make test` do all the set-up on a fresh machine.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OLDEST := .venv-oldest
OLDEST_READY := $(OLDEST)/.ready
OLDEST_TESTS := tests/numerics tests/methods tests/networks tests/training tests/inference
GPU_WHEELS := annotated-types|pydantic|pydantic-core|tqdm|typing-extensions|typing-inspection
# Threads that spin while they wait take the cores from the jobs beside them.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test test-slow test-oldest test-faults test-slurm lint lock docs site gpu-wheels clean

help:            ## List these commands.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 18

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or newer, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $(READY)

demo: $(READY)   ## Set up, then adapt a model on the built-in street scenes and print the results.
	$(BIN)/python -m pipeline start --configfile config/demo.yaml

test: $(READY)   ## Set up, then run the tests (under 20 minutes on 2 cores).
	$(BIN)/python -m pytest -m "not slow and not faults and not slurm"

test-slow: $(READY)    ## The slow tests.
	$(BIN)/python -m pytest -m "slow"

$(OLDEST_READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	grep -oE '^[A-Za-z0-9._-]+==[^\]+' requirements.lock \
		| grep -vE '^(torch|torchvision|triton|sympy|setuptools|nvidia|cuda)' > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt \
		$$(sed -nE 's/^ *"(torch|torchvision)>=([0-9.]+),.*/\1==\2.0/p' pyproject.toml) \
		numpy pillow pandas pydantic pyyaml safetensors scipy jinja2 tqdm timm \
		tensorboard onnx onnxruntime onnxscript pytest pytest-timeout hypothesis
	touch $(OLDEST_READY)

test-oldest: $(OLDEST_READY)  ## The tests of what computes, on the oldest torch that pyproject.toml allows.
	PYTHONPATH=$(CURDIR) $(OLDEST)/bin/python -m pytest -m "not slow" $(OLDEST_TESTS)

test-faults: $(READY)  ## 100 kills chained over runs of the demo's recipe (under 40 minutes).
	$(BIN)/python -m pytest -m "faults" -s

test-slurm: $(READY)   ## The demo's recipe on a real one-machine SLURM from Debian's packages.
	$(BIN)/python tests/slurm/suite.py

lint: $(READY)   ## snakemake --lint, snakefmt, ruff, mypy.
	$(BIN)/snakemake --lint
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock:            ## Write requirements.lock anew from pyproject.toml (needs uv).
	uv pip compile pyproject.toml --extra dev --extra slurm --universal --python-version 3.11 \
		--generate-hashes --constraint requirements.in --custom-compile-command "make lock" -o requirements.lock

docs: $(READY)   ## Write docs/parameters.md anew from the parameters' declarations.
	$(BIN)/python -m pipeline docs

site: $(READY)   ## The documentation as a site in site/, to be read without a network.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

gpu-wheels:      ## Put what a bare PyTorch on Linux with Python 3.12 lacks into .whl, for benchmarks/gpu.py.
	rm -rf .whl
	$(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --dest .whl --implementation cp \
		--python-version 3.12 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
		$$(grep -oE '^($(GPU_WHEELS))==[^ ]+' requirements.lock)

clean:           ## Remove the environment and caches; results stay.
	rm -rf $(VENV) $(OLDEST) .pytest_cache .mypy_cache .ruff_cache
