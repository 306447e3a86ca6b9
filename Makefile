# The project's tasks; `make` alone lists them. Needs Python 3.11 or newer, and nothing else.

PYTHON ?= python3
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements-uv.txt)
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
AUDIT := $(VENV)/audit/.installed
FUZZ := $(VENV)/fuzz
PIP := $(UV) pip install --require-hashes
PACKAGES := $(PIP) --python $(BIN)/python --compile-bytecode -r requirements.txt
ifneq ($(TORCH_BACKEND),)
# The pins are constraints here and not requirements: they include the CUDA packages, which other wheels do not need.
# These packages come from PyTorch's own index, whose files the hashes do not name; all others are compared as usual.
PINS := $(VENV)/pins.txt
PACKAGES := sed -E '/^(torch|triton|nvidia|cuda)/,/[^\\]$$/ {/^ /d; s/ \\$$//}' requirements.txt > $(PINS) && $(UV) pip install \
	--python $(BIN)/python --compile-bytecode --torch-backend $(TORCH_BACKEND) -c $(PINS) -r requirements.in
endif

WORKERS := --numprocesses auto --maxprocesses 4 --no-loadscope-reorder

LOCK := $(UV) pip compile --universal --python-version 3.11 --no-annotate --no-emit-index-url --no-emit-find-links \
	--generate-hashes $(if $(UPGRADE),--upgrade)
# Those that the others name as constraints come first.
LOCKED := requirements requirements-dev requirements-s3-server requirements-tensorflow requirements-audit requirements-image \
	requirements-uv benchmarks/peers/kafka_python benchmarks/peers/ray_data

.PHONY: help install demo up down status test test-long test-fast test-native test-tensorflow lint format docs hooks bench faults lock licenses sbom audit clean

help: ## list these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with the pinned packages and `millrace` (TORCH_BACKEND=cpu: the small PyTorch)

demo: $(INSTALLED) ## run all pipelines on a real broker and Airflow, until Ctrl-C (EXIT=1: until the summary; SECURE=1: with TLS, logins and ACLs)
	@$(BIN)/millrace demo $(if $(EXIT),--exit) $(if $(SECURE),--secure)

up: $(INSTALLED) ## start the same stack in the background
	@$(BIN)/millrace stack up

down: $(INSTALLED) ## stop that stack with all of its processes
	@$(BIN)/millrace stack down

status: $(INSTALLED) ## show the address and login of the background stack, and which parts have ended
	@$(BIN)/millrace stack status

test: $(DEV_INSTALLED) $(S3_SERVER) ## the tests, with broker and scheduler, and the branch coverage (ARGS="-k ledger": some)
	@$(BIN)/python -m pytest -m "not long" --hypothesis-profile fast $(WORKERS) $(or $(ARGS),--cov --cov-report=)

test-long: $(DEV_INSTALLED) ## the tests that take minutes: kills, stacks that are killed, compose's services as processes
	@$(BIN)/python -m pytest -m "long or property" $(WORKERS) $(ARGS)

test-fast: $(DEV_INSTALLED) ## the tests that need no broker, scheduler, S3 server or browser
	@$(BIN)/python -m pytest -m fast --hypothesis-profile fast $(WORKERS) $(ARGS)

test-tensorflow: $(DEV_INSTALLED) $(TENSORFLOW) ## the feed as a tf.data.Dataset, with a TensorFlow of its own (2 GB)
	@$(dir $(TENSORFLOW))bin/python -m pytest tests/include/feed/test_tensorflow.py $(ARGS)

test-native: $(INSTALLED) ## the C code with random messages and files, under the sanitizers and, where it is installed, valgrind
	@set -e; for source in tests/native/*.c; do \
	  $(CC) -g -O1 -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all -o $(FUZZ) $$source; \
	  $(FUZZ) 5000 $(or $(SEED),1); \
	  ! command -v valgrind >/dev/null || { \
	    $(CC) -g -O2 -Wall -Wextra -Werror -o $(FUZZ) $$source; \
	    valgrind --quiet --leak-check=full --error-exitcode=1 $(FUZZ) 200 $(or $(SEED),1); \
	  }; \
	done

lint: $(DEV_INSTALLED) ## style, spelling, types and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/codespell
	@$(BIN)/mypy include plugins benchmarks
	@$(BIN)/lint-imports --no-logo

format: $(DEV_INSTALLED) ## format the code with ruff
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(DEV_INSTALLED) ## the documentation as a site in site/, refusing broken links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

hooks: $(DEV_INSTALLED) ## let git run `make lint`'s checks on what a commit changes
	@$(BIN)/pre-commit install

bench: $(INSTALLED) ## measure throughput, each figure beside its limit in the same run (ARGS="--only feed": some)
	@$(BIN)/python -m benchmarks.run $(ARGS)

faults: $(DEV_INSTALLED) ## kill steps and brokers, count what is lost or doubled (ARGS="--only kills --seed 1": some)
	@$(BIN)/python -m tests.faults $(ARGS)

lock: $(INSTALLED) ## write the pins of changed requirements with their hashes (UPGRADE=1: the newest versions)
	@for name in $(LOCKED); do $(LOCK) $$name.in -o $$name.txt || exit; done

licenses: $(INSTALLED) ## write the table of licences in docs/ and collect their texts in licenses/
	@PYTHONPATH=. $(BIN)/python .ci/licenses.py

sbom: $(AUDIT) ## write sbom.cdx.json: every package and jar, with version and licence (CycloneDX)
	@$(dir $(AUDIT))bin/cyclonedx-py environment --output-reproducible --output-file sbom.cdx.json $(BIN)/python
	@PYTHONPATH=. $(BIN)/python .ci/sbom.py sbom.cdx.json

audit: $(AUDIT) ## compare the pins with the known vulnerabilities (needs a network)
	@$(dir $(AUDIT))bin/pip-audit --strict --disable-pip --no-deps -r requirements.txt -r requirements-dev.txt

clean: down ## stop the stack and remove its state: topics, models, runs, logs (the broker's jars stay)
	@$(BIN)/millrace stack clean

$(INSTALLED): requirements.in requirements.txt requirements-uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python %d.%d is too old, 3.11 is needed: install it, and run make PYTHON=python3.11 ..." % sys.version_info[:2])'
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	@$(UV) --version 2>/dev/null | grep -q '^uv $(UV_VERSION) ' || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	$(PACKAGES)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@echo "$(TORCH_BACKEND)" > $(VENV)/.torch-backend
	@touch $@

$(DEV_INSTALLED): requirements-dev.txt $(INSTALLED)
	$(PIP) --python $(BIN)/python -r requirements-dev.txt
	@touch $@

$(S3_SERVER): requirements-s3-server.txt $(INSTALLED)
	$(UV) venv --quiet --clear --python $(BIN)/python $(@D)
	$(PIP) --python $(@D)/bin/python -r requirements-s3-server.txt
	@touch $@

$(AUDIT): requirements-audit.txt $(INSTALLED)
	$(UV) venv --quiet --clear --python $(BIN)/python $(@D)
	$(PIP) --python $(@D)/bin/python -r requirements-audit.txt
	@touch $@

# Its own packages first, then those of the project.
$(TENSORFLOW): requirements-tensorflow.txt $(DEV_INSTALLED)
	$(UV) venv --quiet --clear --python $(BIN)/python $(@D)
	$(PIP) --python $(@D)/bin/python -r requirements-tensorflow.txt
	@$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > \
		$$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth
	@touch $@
