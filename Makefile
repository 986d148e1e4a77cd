# make demo    the main job, from two checkpoints to a picture over gRPC, into build/demo
# make test    the whole test suite, the real server included
# make check   style, types, generated files
# make bench   latency at 1024x1024, appended to benchmarks/results; BENCH="--batches 1" for less
# make bench-growth  how time and memory grow with resolution, batch and blends; starts of a server
# make bench-video  speed, memory and flicker of videos, some minutes
# make bench-gpu  checks and latency on an NVIDIA GPU, nine minutes; needs $(PYTHON) with torch, triton, numpy, onnx
# make models  measures the demo models again, writes their tables and pictures
# make generate  writes the generated files anew
# make clean   removes build/ and the environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check bench bench-growth bench-video bench-gpu models generate clean
.DELETE_ON_ERROR:

demo: $(VENV)/run
	$(BIN)/python -m export.demo --output build/demo

test: $(VENV)/dev
	$(BIN)/python -m pytest

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror engines/winograd/*.h engines/winograd/*.cpp
	$(BIN)/hadolint serving/container/Dockerfile
	$(BIN)/yamllint --strict --config-data '{extends: default, rules: {line-length: {max: 120}, document-start: disable}}' \
		serving/container/compose.yaml
	$(BIN)/python -m serving.triton.reference_configurations build/generated/model_repository
	diff --recursive model_repository build/generated/model_repository

generate: $(VENV)/dev
	$(BIN)/python -m serving.triton.reference_configurations model_repository

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks.latency $(BENCH)
	$(BIN)/python -m benchmarks.latency.report

bench-growth: $(VENV)/dev
	$(BIN)/python -m benchmarks.growth $(BENCH)
	$(BIN)/python -m benchmarks.growth.report

bench-video: $(VENV)/dev
	$(BIN)/python -m benchmarks.video

# No environment of its own: it runs in whatever image has PyTorch for CUDA.
bench-gpu:
	$(PYTHON) -m benchmarks.gpu $(BENCH)

models: $(VENV)/dev
	$(BIN)/python -m benchmarks.demo_models

# torch is pinned in constraints.txt without a local version, so that pip prefers a "+cpu" build where one is offered.
$(VENV)/run: pyproject.toml setup.py constraints.txt $(wildcard engines/winograd/*.cpp engines/winograd/*.h)
	@echo "Installing what the main job needs into $(VENV) (some minutes the first time) ..."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable ".[export,cpu,server,video,studio]"
	touch $@

$(VENV)/dev: $(VENV)/run
	@echo "Adding the tools of tests and checks ..."
	$(INSTALL) --editable ".[export,cpu,server,video,studio,bench,test,dev]"
	touch $@

clean:
	rm -rf build $(VENV)
