# The project's tasks; `make` alone lists them. Needs Python 3.11 or newer, and nothing else.

PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
# The PyTorch wheel: empty for the default one (CUDA on Linux, 3 GB), or cpu, cu132, auto and so on, as uv names them.
# The choice of the first installation is kept.
TORCH_BACKEND ?= $(shell cat $(VENV)/.torch-backend 2>/dev/null)

# Tools find what .venv has, and nothing that the shell adds.
unexport PYTHONPATH

INSTALLED := $(VENV)/.installed
DEV_INSTALLED := $(VENV)/.installed-dev
S3_SERVER := $(VENV)/s3-server/.installed
TENSORFLOW := $(VENV)/tensorflow/.installed
PACKAGES := -r requirements.txt
ifneq ($(TORCH_BACKEND),)
# The pins are constraints here and not requirements: they include the CUDA packages, which other wheels do not need.
PACKAGES := --torch-backend $(TORCH_BACKEND) -c requirements.txt -r requirements.in
endif

LOCK := $(UV) pip compile --universal --python-version 3.11 --no-annotate --no-emit-index-url --no-emit-find-links \
	$(if $(UPGRADE),--upgrade)

.PHONY: help install demo up down status test test-fast test-tensorflow lint format docs hooks bench faults lock clean

help: ## list these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with the pinned packages and `millrace` (TORCH_BACKEND=cpu: the small PyTorch)

demo: $(INSTALLED) ## run all pipelines on a real broker and Airflow, until Ctrl-C (EXIT=1: until the summary)
	@$(BIN)/millrace demo $(if $(EXIT),--exit)

up: $(INSTALLED) ## start the same stack in the background
	@$(BIN)/millrace stack up

down: $(INSTALLED) ## stop that stack with all of its processes
	@$(BIN)/millrace stack down

status: $(INSTALLED) ## show the address and login of the background stack
	@$(BIN)/millrace stack status

test: $(DEV_INSTALLED) $(S3_SERVER) ## all tests, with broker and scheduler, and the branch coverage (ARGS="-k ledger": some)
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --no-loadscope-reorder \
		$(or $(ARGS),--cov --cov-report=)

test-fast: $(DEV_INSTALLED) ## the tests that need no broker, scheduler, S3 server or browser
	@$(BIN)/python -m pytest -m fast --hypothesis-profile fast --numprocesses auto --maxprocesses 4 --no-loadscope-reorder $(ARGS)

test-tensorflow: $(DEV_INSTALLED) $(TENSORFLOW) ## the feed as a tf.data.Dataset, with a TensorFlow of its own (2 GB)
	@$(dir $(TENSORFLOW))bin/python -m pytest tests/include/feed/test_tensorflow.py $(ARGS)

lint: $(DEV_INSTALLED) ## style, spelling, types and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/codespell
	@$(BIN)/mypy include plugins
	@$(BIN)/lint-imports --no-logo

format: $(DEV_INSTALLED) ## format the code with ruff
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(DEV_INSTALLED) ## the documentation as a site in site/, refusing broken links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

hooks: $(DEV_INSTALLED) ## let git run `make lint`'s checks on what a commit changes
	@$(BIN)/pre-commit install

bench: $(INSTALLED) ## measure throughput, each figure beside its limit in the same run
	@$(BIN)/python -m benchmarks.run $(ARGS)

faults: $(DEV_INSTALLED) ## kill steps and brokers, count what is lost or doubled (ARGS="--only kills --seed 1": some)
	@$(BIN)/python -m tests.faults $(ARGS)

lock: $(INSTALLED) ## write the pins of changed requirements (UPGRADE=1: the newest versions)
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) requirements-dev.in -o requirements-dev.txt
	@$(LOCK) requirements-s3-server.in -o requirements-s3-server.txt
	@$(LOCK) requirements-tensorflow.in -o requirements-tensorflow.txt

clean: down ## stop the stack and remove its state: topics, models, runs, logs (the broker's jars stay)
	@$(BIN)/millrace stack clean

$(INSTALLED): requirements.in requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python %d.%d is too old, 3.11 is needed: install it, and run make PYTHON=python3.11 ..." % sys.version_info[:2])'
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	@$(UV) --version 2>/dev/null | grep -q '^uv $(UV_VERSION) ' || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(UV) pip install --python $(BIN)/python --compile-bytecode $(PACKAGES)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@echo "$(TORCH_BACKEND)" > $(VENV)/.torch-backend
	@touch $@

$(DEV_INSTALLED): requirements-dev.txt $(INSTALLED)
	$(UV) pip install --python $(BIN)/python -r requirements-dev.txt
	@touch $@

$(S3_SERVER): requirements-s3-server.txt $(INSTALLED)
	$(UV) venv --quiet --clear --python $(BIN)/python $(@D)
	$(UV) pip install --python $(@D)/bin/python -r requirements-s3-server.txt
	@touch $@

# Its own packages first, then those of the project.
$(TENSORFLOW): requirements-tensorflow.txt $(DEV_INSTALLED)
	$(UV) venv --quiet --clear --python $(BIN)/python $(@D)
	$(UV) pip install --python $(@D)/bin/python -r requirements-tensorflow.txt
	@$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > \
		$$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth
	@touch $@
