# make demo    the main job, from two checkpoints to a picture over gRPC, into build/demo
# make test    the whole test suite, the real server included
# make test-kernels TRITON=3.6.0  the kernels' tests with another version of their compiler, in build/
# make test-ray  the example for Ray on a cluster of processes, two minutes; installs Ray, 260 MB, in build/
# make check   style, types, generated files
# make bench   latency at 1024x1024, appended to benchmarks/results; BENCH="--batches 1" for less
# make bench-growth  how time and memory grow with resolution, batch and blends; starts of a server
# make bench-video  speed, memory and flicker of videos, some minutes
# make bench-edge  what an edge adds to the time of a request, two minutes
# make bench-gpu  checks and latency on an NVIDIA GPU, at most nine minutes, then again for the rest; BENCH="--first-look"
# make bench-gpu-prepare  computes its references here, into build/bench-gpu.npz, for a machine whose time is short
# make models  measures the demo models again, writes their tables and pictures
# make chaos   kills, stops, fills and floods a server of the demo models under load, forty minutes; CHAOS="--kills 1"
# make chaos-fleet  breaks two and three servers behind an edge under load, twenty minutes; CHAOS="--calls 1000"
# make fuzz    ten minutes of altered input for each fuzzer of tests/fuzzing; FUZZ="--seconds 60 NAME" for less
# make wheel   dist/*.whl, which installs on other machines without a compiler, and dist/*.tar.gz
# make generate  writes the generated files anew
# make clean   removes everything that these commands leave here
#
# PYTHON=python3.12 names the interpreter (3.11 to 3.14; the embedded server needs 3.11 or 3.12), CPU=1 takes PyTorch
# without CUDA and CPU=0 with it (default: by whether there is an NVIDIA driver), VENV=FOLDER the environment's folder.

VENV ?= .venv
RAY ?= 2.58.0
BIN := $(VENV)/bin
PYTHON3 = $(firstword $(foreach name,python3 python3.12 python3.11,$(shell command -v $(name) 2>/dev/null)) $(PYTHON) python3)
ENVIRONMENT = $(PYTHON3) environment.py --venv $(VENV) $(if $(PYTHON),--python $(PYTHON)) $(if $(CPU),--cpu $(CPU))

.PHONY: help demo test test-kernels test-ray check wheel bench bench-growth bench-video bench-edge bench-gpu bench-gpu-prepare models chaos chaos-fleet fuzz generate clean for-demo for-tests

help:
	@sed -n "/^$$/q; s/^# \{0,1\}//p" Makefile

demo: for-demo
	$(BIN)/python -m export.demo --output build/demo

test: for-tests
	$(BIN)/python -m pytest

test-kernels: for-tests
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/triton-$(TRITON) triton==$(TRITON)
	PYTHONPATH=build/triton-$(TRITON) $(BIN)/python -m pytest tests/engines/test_kernels.py tests/engines/test_kernels_ahead_of_time.py

test-ray: for-tests
	$(BIN)/python -m pip install --quiet --upgrade --target build/ray --constraint constraints.txt ray==$(RAY)
	TOONIFY_RAY=$(abspath build/ray) $(BIN)/python -m pytest tests/serving/deploy/test_ray_example.py

check: for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror engines/winograd/*.h engines/winograd/*.cpp
	$(BIN)/hadolint serving/container/Dockerfile
	$(BIN)/yamllint --strict --config-data '{extends: default, rules: {line-length: {max: 120}, document-start: disable}}' \
		serving/container/compose.yaml serving/deploy/kubernetes/chart/*.yaml \
		serving/deploy/kubernetes/chart/files/*.yaml serving/deploy/kubernetes/*.yaml serving/deploy/kubernetes/kserve \
		tests/serving/deploy/rules_test.yaml
	$(BIN)/python -m serving.triton.reference_configurations build/generated/model_repository
	diff --recursive model_repository build/generated/model_repository

generate: for-tests
	$(BIN)/python -m serving.triton.reference_configurations model_repository
	$(BIN)/python -m tests.formats
	$(BIN)/python -m tests.chart_values

bench: for-tests
	$(BIN)/python -m benchmarks.latency $(BENCH)
	$(BIN)/python -m benchmarks.latency.report

bench-growth: for-tests
	$(BIN)/python -m benchmarks.growth $(BENCH)
	$(BIN)/python -m benchmarks.growth.report

bench-video: for-tests
	$(BIN)/python -m benchmarks.video

bench-edge: for-tests
	$(BIN)/python -m benchmarks.edge $(BENCH)

# No environment of its own: it runs in whatever image has PyTorch for CUDA.
bench-gpu:
	$(or $(PYTHON),python3) -m benchmarks.gpu $(BENCH)

bench-gpu-prepare: for-tests
	$(BIN)/python -m benchmarks.gpu.prepare

chaos: for-tests
	test -d build/demo/model_repository || $(BIN)/python -m export.demo --output build/demo
	$(BIN)/python -m benchmarks.chaos $(CHAOS)
	$(BIN)/python -m benchmarks.chaos.report

chaos-fleet: for-tests
	$(BIN)/python -m benchmarks.chaos.fleet_command $(CHAOS)
	$(BIN)/python -m benchmarks.chaos.fleet_report

fuzz: for-tests
	$(BIN)/python -m tests.fuzzing $(FUZZ)

wheel: for-tests
	rm -rf dist build/wheel
	$(BIN)/python -m build --outdir build/wheel .
	PATH="$(abspath $(BIN)):$$PATH" auditwheel repair --wheel-dir dist build/wheel/*.whl
	cp build/wheel/*.tar.gz dist

models: for-tests
	$(BIN)/python -m benchmarks.demo_models

for-demo:
	@$(ENVIRONMENT) demo

for-tests:
	@$(ENVIRONMENT) tests

clean:
	rm -rf build dist $(VENV) *.egg-info engines/winograd/*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find export engines serving benchmarks tests model_repository -name __pycache__ -type d -prune -exec rm -rf {} +
