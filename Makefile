# make demo         set up, then render an image grid and a style-mixing grid
# make test         set up, then run the tests (and those of the networks' arithmetic again without oneDNN)
# make test-gpu     the official numbers on a GPU, in every implementation, precision and layout. Needs TensorFlow, NumPy and
#                   pytest alone, in .venv or in PYTHON_GPU; make test-gpu DEVICE=cpu rehearses it on the CPU
# make test-exports what run_convert.py writes for ONNX, LiteRT and browsers, run by onnxruntime, LiteRT and Chromium (the
#                   last only where it is installed)
# make test-torch   what it writes for PyTorch, in an environment of its own with torch, which is a download of gigabytes
# make test-addons  the tests on TensorFlow 2.15.1 with TensorFlow Addons, in an environment of their own
# make bench        time generating, training, metric networks, the input pipeline: what docs/benchmarks.md reports
# make lint         check the style
# make setup        only set up; make PYTHON=python3.12 ... chooses the Python
# make lock         write the lock files after a change in pyproject.toml, with uv (pip install uv). Versions stay as they
#                   are where they can; make lock UPGRADE=--upgrade takes the newest

PYTHON = $(shell tools/find_python.sh 3.10 3.11 3.12 3.13)
PYTHON_ADDONS = $(shell tools/find_python.sh 3.10 3.11)
VENV := .venv
VENV_ADDONS := .venv-addons
VENV_TORCH := .venv-torch
FAST := not slow and not exports and not torch
TESTS_ENV := TF_CPP_MIN_LOG_LEVEL=3
PYTEST := $(VENV)/bin/python -m pytest
WORKERS ?= 2
PYTHON_GPU ?= $(firstword $(wildcard $(VENV)/bin/python) python3)
DEVICE ?= gpu
LOCK := uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-emit-index-url \
	--custom-compile-command "make lock" $(UPGRADE) pyproject.toml --extra dev
# What convolves, differentiated or not; gradients of whole networks take long, and are made of the gradients of layers.
ARITHMETIC := $(addprefix tests/,ops/test_ops.py ops/test_kernels_in_tensorflow.py nets/test_layers.py \
	nets/test_mixed_precision.py nets/test_networks.py nets/test_ada_networks.py training/test_loss.py \
	training/test_training_step.py metrics/test_metric_nets.py)

.PHONY: demo test test-gpu test-exports test-torch test-addons test-slow bench lint format setup setup-addons lock clean

setup:
	@tools/make_venv.sh "$(PYTHON)" "3.10 to 3.13" $(VENV) requirements.lock

setup-addons:
	@tools/make_venv.sh "$(PYTHON_ADDONS)" "3.10 or 3.11" $(VENV_ADDONS) requirements-addons.lock

lock:
	$(LOCK) --extra onnx --output-file requirements.lock
	$(LOCK) --extra addons --output-file requirements-addons.lock

demo: setup
	$(VENV)/bin/python tools/demo.py

test: setup
	$(TESTS_ENV) $(PYTEST) -n $(WORKERS) -m "$(FAST)"
	$(TESTS_ENV) TF_ENABLE_ONEDNN_OPTS=0 $(PYTEST) -n $(WORKERS) -m "$(FAST) and not one_stack" -k "not test_generator_gradients" $(ARITHMETIC)

test-slow: setup
	$(TESTS_ENV) $(PYTEST) -n $(WORKERS)

test-gpu:
	$(PYTHON_GPU) tools/test_gpu.py --device=$(DEVICE) $(TEST_GPU)

test-exports: setup
	$(TESTS_ENV) $(PYTEST) -n $(WORKERS) -m "exports and not slow"

test-torch:
	@tools/make_venv.sh "$(PYTHON)" "3.10 to 3.13" $(VENV_TORCH) requirements.lock
	$(VENV_TORCH)/bin/pip install --quiet torch
	$(TESTS_ENV) $(VENV_TORCH)/bin/python -m pytest -m torch

test-addons: setup-addons
	$(TESTS_ENV) $(VENV_ADDONS)/bin/python -m pytest -n $(WORKERS) -m "$(FAST) and not one_stack"

bench: setup
	$(VENV)/bin/python tools/bench.py $(BENCH)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(VENV_ADDONS) $(VENV_TORCH)
