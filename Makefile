# Needs Python 3.10 or later and make; check and test-all need 3.10 to 3.13. Uses uv where there is one, otherwise venv and pip.
# make test PYTHON=python3.12 does all in an environment of its own for that interpreter.

PYTHON ?= python3
NAME := $(notdir $(PYTHON))
# pyenv answers for a version only where it is the chosen one: look where it keeps them, too.
FOUND := $(shell $(PYTHON) -c 'import sys; print(sys.executable)' 2>/dev/null \
	|| ls -d $$(pyenv root 2>/dev/null)/versions/$(NAME:python%=%).*/bin/python 2>/dev/null | tail -n 1)
ENV := .venv/$(subst /,_,$(PYTHON))
BIN := $(ENV)/bin
READY := $(ENV)/ready
# Of its own: the peers would change what the tests run on.
BENCH := $(ENV)-bench
# Of its own, too: Sphinx is nothing that the tests need.
DOCS := $(ENV)-docs
SPHINX := $(DOCS)/bin/python -m sphinx --fresh-env --nitpicky --fail-on-warning --keep-going --quiet
# Compiled once, not by each of the hundred processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE
PACKAGES := sessionstore langchain_sessionstore langgraph_sessionstore llama_index_sessionstore openai_agents_sessionstore
PYTHONS := python3.10 python3.11 python3.12 python3.13

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint types notebooks outputs bench bench-quick docs docs-links diagrams dist wheel check test-all clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## a conversation that survives a restart, in two processes
	@$(BIN)/python -m langchain_sessionstore.demo

test: $(READY) ## the tests, but for the long ones
	$(BIN)/python -m pytest

soak: $(READY) docs ## the long tests: servers killed under load, every server and protocol, notebooks, a browser (needs Chromium)
	$(BIN)/python -m pytest tests/soak -o faulthandler_timeout=1200
	$(BIN)/python -m pytest -m soak -o faulthandler_timeout=1200

lint: $(READY) ## style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## strict types, for us and for those who use the package
	$(BIN)/mypy
	$(BIN)/mypy docs/examples
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright
	@for package in $(PACKAGES); do \
		PATH="$(CURDIR)/$(BIN):$$PATH" pyright --ignoreexternal --verifytypes $$package || exit 1; \
	done

notebooks: $(READY) ## every notebook, in a kernel of its own
	$(BIN)/python -m pytest tests/soak/test_notebooks.py -o faulthandler_timeout=1200

outputs: $(READY) ## every notebook, run again, with its outputs
	PYTHONPATH=tests $(BIN)/python tests/soak/test_notebooks.py

bench: $(BENCH)/ready ## what things cost, beside limits and peers, into benchmarks/RESULTS.md (15 minutes)
	$(BENCH)/bin/python benchmarks/run.py

bench-quick: $(BENCH)/ready ## a little of all that, printed only (3 minutes)
	$(BENCH)/bin/python benchmarks/run.py --quick

docs: $(DOCS)/ready ## the documentation, into docs/_build/html: open its index.html
	$(SPHINX) docs docs/_build/html

docs-links: $(DOCS)/ready ## every link of the documentation to elsewhere (needs the network)
	$(SPHINX) -b linkcheck docs docs/_build/links

diagrams: $(READY) ## the pictures of the documentation, drawn again
	$(BIN)/python docs/diagrams/draw.py

check: lint types docs demo test-all soak ## all that CI runs (the notebooks are among the long tests)

dist: $(READY) ## what a release is: the wheel and the archive of the sources, into dist
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*

wheel: $(READY) ## the built wheel, in an empty environment, passes the demo
	rm -rf $(ENV)/wheel && mkdir $(ENV)/wheel
	$(BIN)/python -m build --outdir $(ENV)/wheel
	$(BIN)/python -m twine check --strict $(ENV)/wheel/*
	$(BIN)/python -m venv --without-pip $(ENV)/wheel/env
	$(BIN)/python -m pip --python $(ENV)/wheel/env install --quiet "$$(ls $(ENV)/wheel/*.whl)[langchain]"
	cd $(ENV)/wheel && env/bin/python -m langchain_sessionstore.demo

test-all: ## the tests and the wheel on every Python
	@set -e; for python in $(PYTHONS); do echo "== $$python"; $(MAKE) test wheel PYTHON=$$python; done

clean: ## forget the environments and what was built
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis docs/_build

comma := ,
# $(1): the group of dependencies, $(2): the extras.
define environment
	@test -n "$(FOUND)" || { echo "No $(PYTHON) here: install it, or name another with PYTHON=..." >&2; exit 1; }
	@"$(FOUND)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "$(PYTHON) is too old: Python 3.10 or later is needed" >&2; exit 1; }
	@echo "Installing what development needs into $(@D): a few minutes" >&2
	@rm -rf $(@D)
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --seed --python "$(FOUND)" $(@D) && \
		uv pip install --quiet --python $(@D)/bin/python --group $(1) -e '.[$(2)]'; \
	else \
		"$(FOUND)" -m venv $(@D) && \
		$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1' && \
		$(@D)/bin/python -m pip install --quiet --group $(1) -e '.[$(2)]'; \
	fi
endef

$(READY): pyproject.toml
	$(call environment,dev,langchain$(comma)testing)
	@touch $@

$(DOCS)/ready: pyproject.toml
	$(call environment,docs,all$(comma)testing)
	@touch $@

# One that can't be had doesn't take the others with it: the tables say who is missing.
PEERS := sed -n '/^bench = /,/^]/s/^  "\(.*\)",.*/\1/p' pyproject.toml
$(BENCH)/ready: pyproject.toml
	$(call environment,dev,langchain$(comma)testing)
	@if command -v uv >/dev/null 2>&1; then install="uv pip install --quiet --python $(@D)/bin/python"; \
	else install="$(@D)/bin/python -m pip install --quiet"; fi; \
	$$install --group bench || $(PEERS) | while read -r peer; do \
		$$install "$$peer" </dev/null || echo "make bench goes without $$peer" >&2; \
	done
	@touch $@
