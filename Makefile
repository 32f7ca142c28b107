# Two doors: `make report` and `make test`, each from a bare clone. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
NAMES  ?=
# Progress bars on stderr would trip nbval; workers whose sums take threads of their own slow each
# other down; one takes whole files, so that their fixtures are made once.
PYTEST := TQDM_DISABLE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --numprocesses auto --maxprocesses 4 --dist loadfile

ifdef RESEARCH_DATA
export RESEARCH_DATA := $(abspath $(RESEARCH_DATA))
endif

# Where it is set nothing compiled is kept, and every process of reports and tests takes 7 s longer to start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env lab report reports verify lint types imports fast check test soak bench lock refresh clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-8s %s\n", $$1, $$2}'

env: $(READY) ## make the virtual environment .venv with the locked packages

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

report: $(READY) ## make the embedded default report from scratch (NAMES="frog goog" for others)
	$(BIN)/python -m research_lib report $(NAMES)

reports: $(READY) ## make all reports that the data in RESEARCH_DATA allow; unchanged ones stay
	$(BIN)/python -m research_lib report --all

verify: $(READY) ## run the reports again and compare; names what was edited or changed (NAMES="default" for some)
	$(BIN)/python -m research_lib verify $(NAMES)

lint: $(READY) ## style of code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## type hints
	$(BIN)/mypy

imports: $(READY) ## which folder may import from which
	$(BIN)/lint-imports --no-cache

fast: $(READY) ## the tests that take under a second each
	$(PYTEST) -m "not slow and not soak" tests

check: lint types imports fast ## before every commit, under 90 s

test: lint types imports ## everything: checks, all tests, the notebooks
	$(PYTEST) -m "not soak" --nbval-lax tests notebooks

soak: $(READY) ## kills at random moments, a long run of a live desk; figures into reports/soak.md
	$(PYTEST) -m soak --numprocesses 0 tests

bench: $(READY) ## measure what is claimed about speed and memory, into reports/benchmarks.md
	$(BIN)/python benchmarks

refresh: $(READY) ## store the notebook outputs that the tests compare, after a change made on purpose
	$(BIN)/python tests/refresh.py

lock: $(READY) ## write requirements.lock anew from the bounds in pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
		--no-header --no-annotate --quiet --output-file requirements.lock

clean: ## remove the environment, caches and unfinished reports
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis reports/.work *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs the lock in seconds; where it cannot be had, pip does the same in minutes.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)" \
		&& $(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)
