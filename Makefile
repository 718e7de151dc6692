# Needs GNU make and Python 3.11 or later; everything else goes into .venv.

PYTHON ?= python3
PUZZLE := $(if $(wildcard ../shared/puzzle/pieces),--puzzle ../shared/puzzle)
BIN := .venv/bin
# A file of tests stays in one process, which makes what its tests share once.
ON_ALL_CORES := -n auto --maxprocesses 4 --dist loadfile
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test quick studies programs check format package docs tables fuzz picture zoo real lab \
	plan notebook clean
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

help: ## List what can be made
	@echo "usage: make TARGET [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' Makefile

# Each target below is one command, which make prints: it works by itself too.

demo: .venv/core.stamp ## Put the shipped example back together, without PyTorch
	$(BIN)/unshuffle solve examples/dropped/pieces examples/dropped/record.csv --out build/demo --force

test: .venv/dev.stamp ## Run every test but the studies
	$(BIN)/python -m pytest $(ON_ALL_CORES)

quick: .venv/dev.stamp ## Run the tests but for the slow ones
	$(BIN)/python -m pytest $(ON_ALL_CORES) -m "not slow"

studies: .venv/dev.stamp ## Run the tests that take minutes each
	$(BIN)/python -m pytest $(ON_ALL_CORES) -m study

programs: ## Install what tests of pages and films use: on Debian, as root
	command -v chromium && command -v chromedriver && command -v ffmpeg || \
	{ apt-get update -q && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends chromium chromium-driver ffmpeg; } || \
	echo "Install chromium, chromedriver and ffmpeg; tests that lack theirs are skipped."

check: .venv/dev.stamp ## Lint, check the format and the types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: .venv/dev.stamp ## Fix what the linter can fix, and format
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

package: .venv/dev.stamp ## Build wheel and source archive, and check both
	rm -rf dist && $(BIN)/python -m build --outdir dist && \
	$(BIN)/python -m twine check --strict dist/* && $(BIN)/check-wheel-contents dist/*.whl

docs: .venv/dev.stamp ## Build the site of the documents: build/site/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -j auto -c docs -d build/doctrees . build/site

tables: .venv/core.stamp ## Put the tables of docs/data into their pages
	$(BIN)/python docs/tables.py

fuzz: .venv/fuzz.stamp ## Ten thousand mutated files for every reader: a quarter of an hour
	$(BIN)/python benchmarks/fuzz.py

picture: .venv/dev.stamp ## Draw the pictures in the README and in docs
	$(BIN)/python docs/pictures/draw.py

zoo: .venv/dev.stamp ## Train the oracles that the zoo lacks: hours
	$(BIN)/unshuffle oracle zoo --zoo .zoo --seeds 0,1

real: .venv/dev.stamp ## Drop networks of packages, and put them back: an hour, half a gigabyte
	$(BIN)/python benchmarks/real.py

lab: .venv/dev.stamp ## Run every experiment that the ledger lacks: hours
	mkdir -p build && $(BIN)/unshuffle lab export experiments/ledger.jsonl build/lab.sqlite && \
	$(BIN)/unshuffle lab run experiments --ledger build/lab.sqlite --zoo .zoo $(PUZZLE) && \
	$(BIN)/unshuffle lab export build/lab.sqlite experiments/ledger.jsonl

plan: .venv/core.stamp ## Make docs/plan.md from the experiments and the ledger
	$(BIN)/unshuffle lab plan experiments --ledger experiments/ledger.jsonl --out docs/plan.md --force

notebook: .venv/notebook.stamp ## Run the notebook in Jupyter and keep what it shows
	$(BIN)/jupyter execute --inplace examples/story.ipynb

clean: ## Remove outputs and caches; .venv stays
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis && \
	find benchmarks docs examples src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps lie in the environment: whoever deletes it gets a new one.
.venv/core.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unshuffle needs Python 3.11 or later: make PYTHON=…")'
	@echo "Setting up .venv …"
	@$(PYTHON) -m venv .venv
	@$(PIP) 'pip>=25.1' # the first that knows dependency groups
	@$(PIP) --editable .
	@touch $@

.venv/dev.stamp: .venv/core.stamp
	@echo "Adding PyTorch and the development tools …"
	@$(PIP) --editable '.[torch]' --group dev
	@touch $@

.venv/fuzz.stamp .venv/notebook.stamp: .venv/%.stamp: .venv/dev.stamp
	@$(PIP) --group $*
	@touch $@
