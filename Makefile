# Needs python3 (3.11 or newer), make and git; installs everything else into .venv when first used.
#
#   PYTHON=…  the interpreter to make .venv with, when it is not there yet (default: the first new enough one)
#   ARGS=…    what else the target's program gets: make test ARGS='-k combine', make demo ARGS='--epochs 20'

VENV := .venv
PY := $(VENV)/bin/python
VERSIONS := 3.11 3.12 3.13 3.14
INSTALL := $(PY) -m pip install -qq --disable-pip-version-check
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

# Where it is set, each process that a test starts would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: help demo test test-full integrations check lint format layers types docs pictures bench bench-peers soak test-all test-lowest clean

help:  ## list the targets
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.examples  ## train a digit classifier through itpipe
	@$(PY) examples/digits.py $(ARGS)

# ARGS='-n 0' runs them in one process, which is what a debugger needs.
test: $(VENV)/.dev  ## run the tests that take a moment, on all cores: all but those marked `long`
	@$(PY) -m pytest -n auto --dist worksteal -m 'not long' $(ARGS)

test-full: $(VENV)/.dev  ## run all tests, with more examples of hypothesis, on all cores
	@ITPIPE_HYPOTHESIS=full $(PY) -m pytest -n auto --dist worksteal $(ARGS)

# The release of torch is pinned: what is newest may bring gigabytes for other devices.
integrations: $(VENV)/.dev  ## install the libraries that some tests try itpipe with, and are left out without: torch, …
	@$(INSTALL) torch==2.13.0 --editable '.[integrations]'

check: lint layers types test  ## what a change must pass: format, style, layers, types, tests

lint: $(VENV)/.dev  ## check format and style
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .

format: $(VENV)/.dev  ## format, and fix what can be fixed
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

layers: $(VENV)/.dev  ## check that imports go down through the rooms, without circles
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache

types: $(VENV)/.dev  ## check types: mypy on all, both checkers on tests/typing
	@$(PY) -m mypy
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright --pythonpath $(PY)

docs: $(VENV)/.dev  ## build the documentation into docs/_build/html
	@$(PY) -m sphinx -W --keep-going -q -E docs docs/_build/html
	@echo 'docs: docs/_build/html/index.html'

pictures: $(VENV)/.dev  ## draw the pictures of pipelines in README and docs again
	@$(PY) docs/pictures.py

bench: $(VENV)/.dev  ## run the benchmarks: a table, also in build/benchmarks, with a chart
	@$(PY) -m benchmarks --output build/benchmarks $(ARGS)

bench-peers:  ## the same next to other libraries, which get a .venv-peers of their own
	@$(MAKE) --silent --no-print-directory VENV=.venv-peers .venv-peers/.peers
	@.venv-peers/bin/python -m benchmarks --peers --output build/benchmarks-peers $(ARGS)

soak: $(VENV)/.dev  ## live through ten minutes of kills, errors, breaks and restarts
	@$(PY) tests/support/soak.py $(ARGS)

# pyenv's python3.12 is on PATH even where it only says that another version is active: look where it would lead.
test-all:  ## run the tests on every Python of 3.11 to 3.14 that is here
	@passed=; failed=; missing=; \
	for version in $(VERSIONS); do \
	  shim=$$(command -v python$$version); found=; \
	  for python in $$shim $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python$$version \
	      $${shim%/shims/*}/versions/$$version.*/bin/python$$version python3; do \
	    if "$$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" 2>/dev/null; \
	    then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "== Python $$version: missing"; missing="$$missing $$version"; continue; fi; \
	  echo "== Python $$version: $$found"; \
	  if $(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON="$$found"; \
	  then passed="$$passed $$version"; else failed="$$failed $$version"; fi; \
	done; \
	echo "== passed:$${passed:- none}; failed:$${failed:- none}; missing:$${missing:- none}"; \
	[ -z "$$failed" ] && [ -n "$$passed" ]

test-lowest:  ## run the tests with the oldest versions of the libraries that itpipe needs, on Python 3.11
	@$(MAKE) --no-print-directory VENV=.venv-lowest PYTHON=$(or $(PYTHON),python3.11) .venv-lowest/.lowest
	@.venv-lowest/bin/python -m pytest -n auto --dist worksteal -m 'not long' $(ARGS)

clean:  ## remove what was built and installed here
	@rm -rf .venv .venv-3.* .venv-lowest .venv-peers build dist docs/_build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@for python in $(if $(PYTHON),'$(PYTHON)',python3 $(VERSIONS:%=python%)); do \
	  if "$$python" $(NEW_ENOUGH) 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then exec >&2; \
	  echo "itpipe needs Python 3.11 or newer. $(or $(PYTHON),python3) --version says:"; \
	  "$(or $(PYTHON),python3)" --version; \
	  echo "Say which to use: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; \
	  exit 1; \
	fi; \
	echo "itpipe: making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.examples: pyproject.toml $(PY)
	@echo 'itpipe: installing itpipe[examples] into $(VENV) (once; a minute or so)'
	@$(INSTALL) --editable '.[examples]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(PY)
	@echo 'itpipe: installing itpipe[dev] into $(VENV) (once; a few minutes)'
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.examples $@

$(VENV)/.lowest: pyproject.toml $(PY)
	@sed -n "s/^dependencies = \[\(.*\)\]/\1/p" pyproject.toml | tr -d "' " | tr , '\n' | sed 's/>=/==/' >$(VENV)/lowest.txt
	@echo 'itpipe: installing itpipe[dev] into $(VENV), with' $$(cat $(VENV)/lowest.txt)
	@$(INSTALL) --editable '.[dev]' --constraint $(VENV)/lowest.txt
	@touch $@

$(VENV)/.peers: pyproject.toml $(PY)
	@echo 'itpipe: installing itpipe[peers] into $(VENV) (once; several minutes, a gigabyte and more)'
	@$(INSTALL) --editable '.[peers]'
	@touch $@
