# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The engine is compiled when the package is installed, so it is installed again when a source of it changes.
ENGINE := $(shell find csrc -name '*.cpp' -o -name '*.hpp' -o -name '*.inl' -o -name CMakeLists.txt)
ENGINE_TESTS := -DPRUNEOFA_BINDING=OFF -DPRUNEOFA_TESTS=ON
MINUTES := 30
SPREAD := -n auto --maxprocesses 8

.PHONY: install demo demo-tiny test test-fast lint bench results engine-test engine-sanitize engine-arm engine-fuzz clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt requirements-demo.txt $(ENGINE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev,export]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-demo.txt
	touch $@

demo: install
	$(BIN)/pruneofa run demo --output_dir runs/demo

demo-tiny: install
	$(BIN)/pruneofa run demo-tiny --output_dir runs/demo-tiny

# All tests; the quick ones, for every change. A process for each core, up to eight: each holds about 1 GB.
test: install
	$(BIN)/python -m pytest $(SPREAD)

test-fast: install
	$(BIN)/python -m pytest $(SPREAD) -m 'not slow'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt openvino nncf
	$(BIN)/python benchmarks/training_overhead.py --output results/training_overhead.json
	$(BIN)/python benchmarks/engine.py --prepare
	$(BIN)/python benchmarks/engine.py --output results/engine.json

results: install
	$(BIN)/python benchmarks/prune_once.py --search
	$(BIN)/python benchmarks/prune_once.py --output results/demo.json
	$(BIN)/python benchmarks/draw_pages.py

# The engine's C++ tests: plain; under sanitizers; for ARM, under emulation (g++-aarch64-linux-gnu, qemu-user).
engine-test:
	cmake -S csrc -B build/engine $(ENGINE_TESTS)
	cmake --build build/engine
	ctest --test-dir build/engine --output-on-failure

engine-sanitize:
	set -e; for kind in address,undefined thread; do \
	  cmake -S csrc -B build/engine-$$kind $(ENGINE_TESTS) -DPRUNEOFA_SANITIZER=$$kind; \
	  cmake --build build/engine-$$kind; \
	  ctest --test-dir build/engine-$$kind --output-on-failure; \
	done

engine-arm:
	cmake -S csrc -B build/engine-arm $(ENGINE_TESTS) -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
	  '-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu;-cpu;max'
	cmake --build build/engine-arm
	ctest --test-dir build/engine-arm --output-on-failure

engine-fuzz: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt nanobind
	cmake -S csrc -B build/engine-fuzz -DPRUNEOFA_SANITIZER=address,undefined -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
	cmake --build build/engine-fuzz
	$(BIN)/python benchmarks/engine_fuzz.py --minutes $(MINUTES) --native build/engine-fuzz/binding/_native.*.so --output results/engine_fuzz.json

clean:
	rm -rf $(VENV) build dist
