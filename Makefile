# `make help` lists the targets. PYTHON makes the environment, VENV says where it lies.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

# With a configuration of the user's, that rules. Without one, `accelerate launch` warns about each default it takes, and
# would run the demo on one core.
ACCELERATE_HOME := $(or $(HF_HOME),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/huggingface)/accelerate
CORES = $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
LAUNCH_DEFAULTS = --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
	--num_cpu_threads_per_process $(CORES)
LAUNCH = $(if $(wildcard $(ACCELERATE_HOME)/default_config.*),,$(LAUNCH_DEFAULTS))

.DEFAULT_GOAL := help
.PHONY: help demo demo-photos screenshots test test-fast lint types docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/.installed  ## train on the embedded data set: about a minute on two CPU cores
	$(BIN)/accelerate launch $(LAUNCH) recipes/train.py
	@echo
	@echo "What to look at:"
	@echo "  the table of scores above: balanced is the mean recall of all classes, few that of the rarest ones"
	@echo "  the page in the line report above, in a browser: for each class the images that the model gets wrong"
	@echo "What to do next:"
	@echo "  sort your own images into one folder for each class, my_images/CLASS/*.jpg, and run"
	@echo "  source $(BIN)/activate && glmc-zoo finetune --data my_images --tune head"

demo-photos: $(VENV)/.installed-photos  ## train three classifiers on embedded images of clothes: about two minutes
	$(BIN)/python recipes/demo_photos.py
	@echo "  (in a new shell, first run: source $(BIN)/activate)"

screenshots: $(VENV)/.installed  ## take those of docs/report.md from REPORT=runs/NAME/report.html, by Chromium
	$(BIN)/python docs/screenshots.py report $(REPORT)

test: $(VENV)/.installed-dev  ## run the tests
	$(BIN)/python -m pytest -n auto --dist loadfile

test-fast: $(VENV)/.installed-dev  ## run the tests that are quick and start no child processes, about a minute
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not processes and not slow"

lint: $(VENV)/.installed-dev  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev  ## check the types
	$(BIN)/mypy

docs: $(VENV)/.installed-docs  ## build the pages as a site, site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:  ## remove the environment, caches and built packages, never what runs left
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache
	find glmc_zoo recipes tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps keep a second `make` from installing again while pyproject.toml is the same.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-photos: pyproject.toml | $(BIN)/python
	$(PIP) --editable ".[photos]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(PIP) --editable ".[docs]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable ".[dev]"
	touch $@ $(VENV)/.installed
