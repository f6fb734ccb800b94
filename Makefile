# Every target sets up what it needs by itself, in .venv, from the pinned set in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The pinned cmake and ninja are in the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

SOURCES := $(foreach depth,* */* */*/*,$(wildcard src/$(depth).h src/$(depth).cpp src/$(depth).cuh src/$(depth).cu))
# Here CUDA is built where it is asked for (test-gpu, test-cuda-build): for all architectures it takes
# minutes. A plain `pip install .` builds it wherever it finds nvcc.
export TREEFILTER_CUDA ?= OFF
PACKAGE := $(wildcard treefilter/*)
TEL := examples/tel_segmentation
FORMATTED := $(SOURCES) $(wildcard tests/native/*.cpp benchmarks/*.cu)
INSTALL_OPTIONS := --quiet --no-build-isolation --no-deps --no-index
INSTALL := $(BIN)/pip install $(INSTALL_OPTIONS)
# The benchmark's peers have an environment of their own.
BENCH_VENV := .venv-bench
BENCH := $(BENCH_VENV)/bin/pytest benchmarks --benchmark-enable --benchmark-only \
         --benchmark-columns=median,iqr,rounds --results benchmarks/results

.PHONY: demo figure test fuzz lint format bench bench-full bench-report bench-profile \
        bench-compare bench-gpu test-asan test-native test-tsan test-emulated test-cuda-build test-gpu test-dist clean \
        tel-measure-scenes tel-measure-photos tel-measure-cost tel-results

demo: $(VENV)/.installed
	$(BIN)/python examples/photo_demo/photo_demo.py
	$(BIN)/tel demo

# The tree energy loss measured: minutes for each run, and hours in all. Stopped and started again it
# goes on. SOURCE: a data set's TOML file, with the annotations of `tel annotate` beside it.
RUNS ?= runs
tel-measure-scenes: $(VENV)/.installed
	$(BIN)/tel measure scenes --output $(RUNS)/scenes
	$(BIN)/tel publish $(RUNS)/scenes --records $(TEL)/results/scenes --pictures

tel-measure-photos: $(VENV)/.installed
	@test -n "$(SOURCE)" || { echo "usage: make tel-measure-photos SOURCE=camvid.toml"; exit 2; }
	$(BIN)/tel measure photos --source $(SOURCE) --output $(RUNS)/photos
	$(BIN)/tel publish $(RUNS)/photos --records $(TEL)/results/photos

tel-measure-cost: $(VENV)/.installed
	$(BIN)/tel cost photos --output $(TEL)/results/cost-photos.json
	$(BIN)/tel cost scenes --output $(TEL)/results/cost-scenes.json

# The tables and the page again from the records that are there.
tel-results: $(VENV)/.installed
	$(BIN)/tel publish --records $(TEL)/results --readme $(TEL)/README.md
	$(BIN)/tel experiments --markdown $(TEL)/results/experiments.md
	$(BIN)/tel report $(TEL)/results --output build/tel-report.html

# The picture in README.md.
figure: $(VENV)/.installed
	$(BIN)/python examples/photo_demo/photo_demo.py --output docs/photo_demo.png

test: $(VENV)/.installed
	$(BIN)/pytest -n auto --maxprocesses 8

# Generated arguments for every public function; a failure says how to make that call again:
# [SECONDS=600] [SEED=1].
fuzz: $(VENV)/.installed
	@mkdir -p build
	$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1) \
	    --progress build/fuzz-call

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(FORMATTED)

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(FORMATTED)

# Measures and writes benchmarks/results: a JSON file for this machine, the page, its plots.
bench: $(BENCH_VENV)/.installed
	$(BENCH)
	$(BENCH_VENV)/bin/python benchmarks/report.py

bench-full: $(BENCH_VENV)/.installed
	$(BENCH) --full --seconds 4
	$(BENCH_VENV)/bin/python benchmarks/report.py

# Where the time goes: results/profile.md. Needs perf.
bench-profile: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python benchmarks/profile_phases.py

# The page again from the JSON files that are there, and the table in README.md.
bench-report: $(VENV)/.ready
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/gpu_report.py

# On a machine with a GPU and nvcc: writes benchmarks/results/gpu-<device>.json, gpu.md and its plot.
# GPU_PYTHON: a Python that has torch with CUDA and all else already, instead of .venv's.
GPU_PYTHON ?= $(BIN)/python
bench-gpu: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(VENV)/.ready)
	rm -rf build/bench-gpu
	TREEFILTER_CUDA=ON CUDAARCHS=native $(GPU_PYTHON) -m pip install $(INSTALL_OPTIONS) \
	    --target build/bench-gpu . -C build-dir=build/bench-gpu-objects
	PYTHONPATH=build/bench-gpu $(GPU_PYTHON) benchmarks/gpu.py; failed=$$?; \
	    $(GPU_PYTHON) benchmarks/gpu_report.py && exit $$failed

# What changed in speed since a commit: BASE=main~3 [CASES=regex] [SECONDS=2] [NEW=ref] [THREADS=1].
bench-compare: $(VENV)/.ready
	@test -n "$(BASE)" || { echo "usage: make bench-compare BASE=ref [CASES=regex] [SECONDS=2]"; exit 2; }
	@$(BIN)/python benchmarks/compare.py "$(BASE)" --cases "$(CASES)" $(if $(NEW),--new "$(NEW)") \
	    $(if $(SECONDS),--seconds $(SECONDS)) $(if $(THREADS),--threads $(THREADS))

# The native code under AddressSanitizer and UBSan, inside an ordinary Python.
NATIVE_TESTS := tests/test_mst.py tests/test_tree.py tests/test_filter.py tests/test_distance.py \
                tests/test_edge_weight.py tests/test_errors.py tests/test_arguments.py \
                tests/test_trees_from_outside.py
DERIVATIVE_TESTS := tests/test_filter_derivatives.py tests/test_filter_precision.py tests/test_ops.py
test-asan: $(VENV)/.ready
	rm -rf build/asan
	$(INSTALL) --target build/asan . -C build-dir=build/asan-objects \
	    -C cmake.define.TREEFILTER_SANITIZE=address,undefined -C cmake.define.TREEFILTER_VARIANTS=
	PYTHONPATH=build/asan ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 \
	    LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	    TREEFILTER_FROM=$(CURDIR)/build/asan $(BIN)/pytest -q -n auto --maxprocesses 8 $(NATIVE_TESTS) \
	    tests/fuzz

# All device code on the CPU, against the CPU's own and brute force, in every order of its threads; then
# what runs on real threads of it, and every threaded kernel, under ThreadSanitizer.
EMULATED := emulated_mst emulated_filter emulated_edge_weight emulated_distance
test-native: $(VENV)/.ready
	cmake -G Ninja -S . -B build/native -DTREEFILTER_NATIVE_TESTS=ON
	cmake --build build/native
	for test in $(EMULATED); do build/native/$$test || exit 1; done

test-tsan: $(VENV)/.ready
	cmake -G Ninja -S . -B build/tsan -DTREEFILTER_NATIVE_TESTS=ON -DTREEFILTER_SANITIZE=thread
	cmake --build build/tsan
	for test in race $(EMULATED); do build/tsan/$$test race || exit 1; done

# The device code on the CPU (src/cuda/runtime/launch.cuh), in the place of the CPU's own, through the ordinary
# tests; in another order of the threads, and as if blocks had hardly any shared memory, once more.
test-emulated: $(VENV)/.ready
	rm -rf build/emulated
	$(INSTALL) --target build/emulated . -C build-dir=build/emulated-objects \
	    -C cmake.define.TREEFILTER_EMULATE=ON -C cmake.define.TREEFILTER_CUDA=OFF
	for setting in forward:232448 shuffled:2048; do \
	    TREEFILTER_EMULATION=$${setting%:*} TREEFILTER_EMULATION_SHARED=$${setting#*:} \
	    PYTHONPATH=build/emulated TREEFILTER_FROM=$(CURDIR)/build/emulated \
	        $(BIN)/pytest -q -n auto --maxprocesses 8 $(NATIVE_TESTS) $(DERIVATIVE_TESTS) || exit 1; \
	done

# The CUDA build where nvcc is: for one architecture, warnings as errors, its kernels held against a
# budget, and imported where there need not be a GPU.
test-cuda-build: $(VENV)/.ready
	@command -v nvcc >/dev/null || { echo "no nvcc here: the CUDA build is not checked"; exit 0; }; \
	set -e; rm -rf build/cuda; mkdir -p build/cuda; \
	TREEFILTER_CUDA=ON TREEFILTER_WERROR=ON CUDAARCHS=90 $(BIN)/pip install -v --no-build-isolation \
	    --no-deps --no-index --target build/cuda/site . -C build-dir=build/cuda/objects \
	    -C cmake.define.TREEFILTER_VARIANTS= -C cmake.define.CMAKE_CUDA_FLAGS="-Xptxas -v" \
	    > build/cuda/log 2>&1 || { cat build/cuda/log; exit 1; }; \
	$(BIN)/python tests/ptxas_budget.py build/cuda/log; \
	PYTHONPATH=build/cuda/site TREEFILTER_FROM=$(CURDIR)/build/cuda/site \
	    $(BIN)/pytest -q tests/test_nn.py tests/test_errors.py

# On a GPU: a build for it, all tests, and a reduced set of them under compute-sanitizer.
SANITIZED := tests/test_mst.py tests/test_filter.py tests/test_distance.py tests/test_edge_weight.py
test-gpu: $(VENV)/.ready
	TREEFILTER_CUDA=ON CUDAARCHS=native $(INSTALL) .
	$(BIN)/pytest -q tests
	for tool in memcheck racecheck synccheck initcheck; do \
	    HYPOTHESIS_PROFILE=few PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $$tool \
	        --target-processes all --error-exitcode 1 --kernel-name-exclude regex=at::native \
	        $(BIN)/pytest -q -x -k "cuda and not large and not threads" $(SANITIZED) || exit 1; \
	done

# What a user gets: an sdist, the wheel that it builds without torch in sight, and a package that imports.
test-dist: $(VENV)/.ready
	rm -rf build/dist
	$(BIN)/python -m build --sdist --outdir build/dist .
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/dist build/dist/*.tar.gz
	$(BIN)/pip install --quiet --no-deps --no-index --target build/dist/site build/dist/*.whl
	cd build/dist && PYTHONPATH=site $(CURDIR)/$(BIN)/python $(CURDIR)/tests/test_examples.py

clean:
	rm -rf $(VENV) $(BENCH_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(VENV)/.ready: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -r constraints.txt
	touch $@

$(VENV)/.installed: $(VENV)/.ready CMakeLists.txt pyproject.toml $(SOURCES) $(PACKAGE) $(TEL)/pyproject.toml
	$(INSTALL) .
	$(INSTALL) -e $(TEL)
	touch $@

$(BENCH_VENV)/.ready: constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --upgrade pip
	$(BENCH_VENV)/bin/pip install --quiet -r benchmarks/requirements.txt
	touch $@

$(BENCH_VENV)/.installed: $(BENCH_VENV)/.ready CMakeLists.txt pyproject.toml $(SOURCES) $(PACKAGE)
	PATH="$(CURDIR)/$(BENCH_VENV)/bin:$$PATH" $(BENCH_VENV)/bin/pip install $(INSTALL_OPTIONS) .
	touch $@
