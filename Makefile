# make lab     opens the lessons in JupyterLab
# make test    runs every test and every cell of every notebook
# make quick   runs the tests that take less than three seconds each, and no notebooks: after each change
# make check   looks for errors without running anything: ruff and mypy
# make html    builds a copy for reading
# Each of them sets up .venv first, with uv or, if that fails, with pip (slower).
# To use a different Python: make lab PYTHON=python3.12. Without a browser: make lab LAB_ARGS=--no-browser

PYTHON ?= python3
LAB_ARGS ?=
BIN := .venv/bin
READY := .venv/ready

# make lab PYTHON=python3.12 rebuilds .venv if it was made with a different Python.
ifeq ($(origin PYTHON),command line)
ifneq ($(PYTHON),$(shell cat .venv/made-with 2>/dev/null))
.PHONY: $(READY)
endif
endif

.PHONY: lab test quick check html notebooks clean

lab: $(READY)
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --config=jupyter_lab_config.py --LabApp.default_url=/lab/tree/notebooks/01_what_is_it.ipynb $(LAB_ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" tests

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/python -m mypy

html: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q -c docs . docs/_build/html
	@echo "open docs/_build/html/index.html"

# For contributors: run all notebooks and save them with their outputs.
notebooks: $(READY)
	$(BIN)/python tests/run_notebooks.py

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else \
	"Python %d.%d: this project needs 3.10 to 3.13, for example: make lab PYTHON=python3.12" % v)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q uv==0.13.9
	$(BIN)/python -m uv pip install -q --compile-bytecode --python $(BIN)/python -r requirements.txt || \
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt
	$(BIN)/python check_setup.py
	echo $(PYTHON) > .venv/made-with
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache *.egg-info docs/_build
