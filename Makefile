# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo demo-tiny test lint bench results clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt requirements-demo.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-demo.txt
	touch $@

demo: install
	$(BIN)/pruneofa run demo --output_dir runs/demo

demo-tiny: install
	$(BIN)/pruneofa run demo-tiny --output_dir runs/demo-tiny

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python benchmarks/training_overhead.py --output results/training_overhead.json

results: install
	$(BIN)/python benchmarks/prune_once.py --search
	$(BIN)/python benchmarks/prune_once.py --output results/demo.json
	$(BIN)/python benchmarks/render_results.py

clean:
	rm -rf $(VENV) build dist
