# make verify | test | test-slow | sight | fuzz | survive | scale | train | zoo | wild | docs | bench | gpu | gpu-bundle | gpu-check | lint | types.
# Each makes the environment first, if it is not there; gpu-check takes the Python that it is given.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: verify test test-slow sight fuzz survive scale train zoo wild docs pictures bench gpu gpu-bundle gpu-check lint types all
all: lint types docs test

# Without a GPU, torch's CPU build, where pip's indexes have it: the other brings gigabytes of CUDA. Whose do not:
# PIP_EXTRA_INDEX_URL=… make verify, with the address that PyTorch's own page names for a CPU.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CPU_BUILDS := $(shell sed -n 's/^\(torch\|torchvision\)==.*/&+cpu/p' constraints.txt)
$(READY): pyproject.toml constraints.txt
	@echo "1 of 3: an environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@if command -v nvidia-smi > /dev/null; then echo "2 of 3: PyTorch comes with the rest, for the GPU of this machine"; \
	else echo "2 of 3: PyTorch for the CPU: this machine has no GPU"; for build in $(CPU_BUILDS); do \
	$(PIP) $$build 2> /dev/null || echo "        pip finds no $$build; the build that it prefers comes with the rest"; done; fi
	@echo "3 of 3: Paddle, ONNX Runtime and the rest; this takes some minutes"
	@$(PIP) -e '.[all,test,dev,docs]'
	@touch $@

verify: $(READY)
	$(BIN)/portproof verify googlenet

test: $(READY)
	$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist worksteal

test-slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

sight: $(READY)
	$(BIN)/portproof faults googlenet --count 1000 --groups 100 --seeds 10
	$(BIN)/portproof faults resnet18 --count 1000 --groups 100 --seeds 10

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz 100000

train: $(READY)
	$(BIN)/portproof train googlenet --data digits --set num_classes=10 --dropout off -o runs-digits

# A quarter of an hour: every command under every fault of a machine.
survive: $(READY)
	$(BIN)/python -m tests.survive

# An hour, and the machine for itself: ten thousand images.
scale: $(READY)
	$(BIN)/python -m benchmarks.evidence.scale build/scale

# Half an hour: every port of the zoo, forward and backward, and every layer through both exporters.
zoo: $(READY)
	$(BIN)/python -m parity_tests.evidence.zoo build/zoo
	$(BIN)/python -m tests.layer_table build/zoo

# An hour and a half: models of other people's packages, a thousand faults planted into them; `make wild QUICK=1`:
# ten of them in three minutes, verdicts alone.
wild: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r parity_tests/wild/requirements.txt
	$(BIN)/python -W ignore -m parity_tests.wild

# Not --quiet: no warning would count then, and --strict pass everything.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY)
	$(BIN)/portproof bench run --suite benchmarks.googlenet:SHORT

# One environment a side, as on a machine with CUDA, where the GPU builds of Paddle and torch pin other libraries.
# Needs the packages' own instructions for the CUDA version at hand; see docs/benchmarks.md.
gpu:
	$(PYTHON) -m venv $(VENV)-paddle
	$(VENV)-paddle/bin/python -m pip install -e '.[images]' paddlepaddle-gpu
	$(PYTHON) -m venv $(VENV)-gpu
	$(VENV)-gpu/bin/python -m pip install -e '.[torch,onnx,gpu,bench,images]'
	$(VENV)-gpu/bin/portproof doctor

# The two halves of the GPU check (docs/gpu.md): with Paddle and without a GPU; with a GPU and without Paddle.
BUNDLE ?= build/gpu-bundle.zip
GPU_PYTHON ?= python3
gpu-bundle: $(READY)
	$(BIN)/python -m benchmarks.gpu_check bundle -o $(BUNDLE)

gpu-check:
	$(GPU_PYTHON) -m benchmarks.gpu_check run $(BUNDLE) -o build/gpu-check

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# Two minutes: the pictures of the README, from today's output; needs Chromium.
pictures: $(READY)
	$(BIN)/python -m docs.pictures
