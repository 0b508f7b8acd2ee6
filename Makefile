# One command per job. Every target calls the virtual environment's programs: nothing to activate, and no Jupyter kernel
# to install. `make setup PYTHON=python3.12` picks another interpreter.
#
# CPU or GPU? constraints.txt pins a version of torch, not a build. On Linux, PyPI serves the CUDA build (with several GB of
# CUDA libraries); it also runs on a machine without a GPU. For the small CPU build, or another CUDA version, name
# PyTorch's own index on the first call (cu126 and the like instead of cpu):
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup
# On macOS and Windows, PyPI serves a build without CUDA.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp
# Processes that run tests at the same time, each with one thread: `make test WORKERS=8` on a larger machine.
WORKERS ?= 2
# More options for pytest, e.g. `make test PYTEST_ARGS="-x -k sampler"`.
PYTEST_ARGS ?=
# A file (a chapter is one) is run by one process, so that what its tests share is made once; in the order given, so that
# short files come last and the processes end together.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# The simulator's compiled loops. Numba looks at one file at a time, so a change in any of them throws all away.
LOOPS   := $(VENV)/var/numba
SITE    := _build/html
PDF     := _build/radiodiff.pdf
MATHJAX := _build/static/mathjax
# Touched when a build of the book has ended well, and what it was made of: `make browser-test` and `make pdf` build only
# if something is newer.
BUILT   := _build/.built
SOURCES := _config.yml $(shell find book notebooks radiodiff configs results -type f -not -name '*.ipynb' -not -path '*/__pycache__/*' -not -path '*/.*')

# Chapters run the same for everyone: without the user's own IPython and Jupyter settings, and with or without a home folder.
test faults book linkcheck browser-test: export IPYTHONDIR := $(CURDIR)/$(VENV)/var/ipython
test faults book linkcheck browser-test: export JUPYTER_CONFIG_DIR := $(CURDIR)/$(VENV)/var/jupyter/config
test faults book linkcheck browser-test: export JUPYTER_DATA_DIR := $(CURDIR)/$(VENV)/var/jupyter/data
test faults book linkcheck browser-test: export JUPYTER_RUNTIME_DIR := $(CURDIR)/$(VENV)/var/jupyter/runtime
test faults book linkcheck browser-test: export MPLCONFIGDIR := $(CURDIR)/$(VENV)/var/matplotlib
# Threads that wait for each other sleep instead of spinning: on a busy machine, spinning costs minutes a chapter. The
# package says the same when it is imported before torch; here it holds for every program and kernel.
OMP_WAIT_POLICY ?= passive
export OMP_WAIT_POLICY
# What Numba compiled once is read by every further process.
test faults book browser-test: export NUMBA_CACHE_DIR := $(CURDIR)/$(LOOPS)
# A thread for each process: PyTorch's threads would only wait for each other.
test faults: export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults browser-test notebooks book pdf linkcheck chromium lint lab clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install the package and its tools into .venv; instant when nothing changed

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "radiodiff needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make setup PYTHON=python3.12"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	$(BIN)/python -c 'import radiodiff, torch; print("radiodiff is ready, with torch", torch.__version__)'
	@touch $@

demo: $(STAMP) ## train a small network that corrects physics on simulated maps, and score it (minutes, CPU)
	$(BIN)/radiodiff train --config configs/demo.yaml
	$(BIN)/radiodiff evaluate --run-dir runs/demo

test: $(STAMP) $(LOOPS) ## run all tests and every chapter at its smallest size
	rm -rf runs/smoke data/sim-smoke
	$(PYTEST) --nbval-lax notebooks/ tests --ignore tests/browser --durations=20 $(PYTEST_ARGS)

faults: $(STAMP) $(LOOPS) ## kill, tear, fill up and feed nonsense in full (hours; goes on when called again); see results/faults/
	$(BIN)/python -m tests.faults.sweep
	$(BIN)/python -m tests.faults.fuzz --inputs 20000 --seed 0 --out results/faults/fuzz.json

$(LOOPS): $(wildcard radiodiff/simulate/*.py) | $(STAMP)
	rm -rf $@
	mkdir -p $@

browser-test: $(BUILT) $(PDF) ## use the built book and JupyterLab as a reader does; screenshots in _build/screenshots
	rm -rf _build/screenshots
	$(PYTEST) tests/browser --durations=20 $(PYTEST_ARGS)

notebooks: $(STAMP) ## write the .ipynb half of every chapter from its .md, without outputs
	$(BIN)/jupytext --quiet --to ipynb --update notebooks/*.md
	$(BIN)/nbstripout notebooks/*.ipynb

book: $(STAMP) $(LOOPS) $(MATHJAX)/tex-chtml.js ## execute the chapters and build the site; a warning is an error
	rm -rf _build/.jupyter_cache $(BUILT) $(SITE) runs/smoke data/sim-smoke
	$(BIN)/jupyter-book build . --toc book/_toc.yml -W -n --keep-going --all
	@touch $(BUILT)
	@echo "Open $(SITE)/book/intro.html"

$(BUILT): $(SOURCES) | $(STAMP)
	$(MAKE) book

pdf: $(PDF) ## print the whole book as _build/radiodiff.pdf

$(PDF): $(BUILT) tools/print_pdf.py | chromium
	$(BIN)/python tools/print_pdf.py $(SITE) $@

linkcheck: $(STAMP) $(MATHJAX)/tex-chtml.js ## ask the web for every outside link of the book
	$(BIN)/jupyter-book build . --toc book/_toc.yml --builder linkcheck

# The part of MathJax the pages need (script, fonts, TeX macros loaded on demand), so that the site asks nothing of other hosts.
$(MATHJAX)/tex-chtml.js: $(STAMP)
	@mkdir -p $(MATHJAX)/output/chtml/fonts $(MATHJAX)/input/tex
	@from=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/sphinx-mathjax-offline/static/mathjax; \
	cp -R "$$from/output/chtml/fonts/woff-v2" $(MATHJAX)/output/chtml/fonts/ && \
	cp -R "$$from/input/tex/extensions" $(MATHJAX)/input/tex/ && cp "$$from/tex-chtml.js" $@

chromium: ## install Debian's chromium unless a browser of its kind is there
	@for name in chromium chromium-browser google-chrome; do ! command -v $$name > /dev/null || exit 0; done; \
	command -v apt-get > /dev/null || { \
	  echo "No chromium, chromium-browser or google-chrome on the PATH, and no apt-get to install one: install Chromium or Chrome."; \
	  exit 1; } >&2; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -q && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium fonts-liberation

lint: $(STAMP) ## check style and format of code and chapters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lab: $(STAMP) ## open the chapters in JupyterLab; either half of a chapter opens as a notebook
	$(BIN)/jupyter lab notebooks --LabApp.app_settings_dir=$(CURDIR)/.binder

clean: ## remove built pages and caches; data/, runs/ and results/ stay
	rm -rf _build build dist .hypothesis .pytest_cache .ruff_cache
	find . -name $(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

distclean: clean ## also remove .venv
	rm -rf $(VENV) *.egg-info
