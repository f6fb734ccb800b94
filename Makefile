# Every target sets up what it needs in .venv, from the pinned versions in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The pinned cmake and ninja are in the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

SOURCES := $(foreach depth,* */* */*/*,$(wildcard src/$(depth).h src/$(depth).cpp src/$(depth).cuh src/$(depth).cu))
# Only the targets for CUDA build for it, because all architectures take minutes. A plain `pip install .`
# builds for CUDA wherever it finds nvcc.
export TREEFILTER_CUDA ?= OFF
PACKAGE := $(wildcard treefilter/* treefilter/*/*.py)
TEL := examples/tel_segmentation
FORMATTED := $(SOURCES) $(wildcard tests/native/*.cpp tests/native/*.h benchmarks/gpu/*.cu benchmarks/gpu/baseline/*.cpp \
                                      benchmarks/gpu/baseline/*.cu benchmarks/gpu/baseline/*.h)
INSTALL_OPTIONS := --quiet --no-build-isolation --no-deps --no-index
INSTALL := $(BIN)/pip install $(INSTALL_OPTIONS)
# The libraries that the benchmark compares with are in a separate environment.
BENCH_VENV := .venv-bench
BENCH := $(BENCH_VENV)/bin/pytest benchmarks --benchmark-enable --benchmark-only \
         --benchmark-columns=median,iqr,rounds --results benchmarks/results
# Trees of many random graphs, compared with those of the other libraries before anything is timed.
BENCH_VERIFY := $(BENCH_VENV)/bin/pytest -q benchmarks/test_generated_graphs.py

# So is what the documentation is made with.
DOCS_VENV := .venv-docs

.PHONY: demo docs gallery figure test fuzz lint format bench bench-full bench-sigma bench-tiled bench-layers bench-report \
        bench-profile bench-compare bench-gpu gpu-counts gpu-build gpu-check gpu-results test-clang test-asan test-native test-tsan \
        test-emulated test-pretended test-cuda-build test-gpu test-dist wheel clean \
        tel-measure-scenes tel-measure-photos tel-measure-street tel-measure-mass tel-measure-cost tel-results

demo: $(VENV)/.installed
	$(BIN)/python examples/photo_demo/photo_demo.py
	$(BIN)/tel demo

# Measures the tree energy loss: minutes for each run, hours for all. When stopped and started again, it
# resumes. SOURCE: a data set's TOML file, with the annotations of `tel annotate` beside it.
# The runs are published under the name of that file: camvid.toml in results/camvid.
RUNS ?= runs
DATA_SET = $(basename $(notdir $(SOURCE)))
tel-measure-scenes: $(VENV)/.installed
	$(BIN)/tel measure scenes --output $(RUNS)/scenes
	$(BIN)/tel publish $(RUNS)/scenes --records $(TEL)/results/scenes --pictures

tel-measure-photos tel-measure-street tel-measure-mass: tel-measure-%: $(VENV)/.installed
	@test -n "$(SOURCE)" || { echo "usage: make $@ SOURCE=camvid.toml"; exit 2; }
	$(BIN)/tel measure $* --source $(SOURCE) --output $(RUNS)/$(DATA_SET)
	$(BIN)/tel publish $(RUNS)/$(DATA_SET) --records $(TEL)/results/$(DATA_SET)

tel-measure-cost: $(VENV)/.installed
	$(BIN)/tel cost photos --output $(TEL)/results/cost-photos.json
	$(BIN)/tel cost scenes --output $(TEL)/results/cost-scenes.json

# Makes the tables and the page again from the existing records.
tel-results: $(VENV)/.installed
	$(BIN)/tel publish --records $(TEL)/results --readme $(TEL)/README.md
	$(BIN)/tel experiments --markdown $(TEL)/results/experiments.md
	$(BIN)/tel report $(TEL)/results --output build/tel-report.html

# The pictures in README.md, docs and examples.
figure: $(VENV)/.installed
	$(BIN)/python docs/tree_filter.py --output docs/tree_filter.png
	$(BIN)/python docs/concept.py --output docs/concept.png
	$(BIN)/python docs/tiled.py --output docs/tiled.png
	$(BIN)/python examples/photo_demo/photo_demo.py --output docs/photo_demo.png
	$(BIN)/python examples/gigapixel/gigapixel.py --output docs/gigapixel.png
	$(BIN)/python docs/tel_user.py --output docs/tel_user.png

# The documentation, docs/_build/html/index.html: without a network, warnings are errors. Scripts of the
# gallery run if they have changed; `make gallery` runs all of them.
docs: $(DOCS_VENV)/.installed
	OMP_NUM_THREADS=1 $(DOCS_VENV)/bin/sphinx-build --quiet --fresh-env --fail-on-warning \
	    --doctree-dir docs/_build/doctrees docs docs/_build/html

gallery:
	rm -rf docs/auto_gallery docs/_build
	$(MAKE) docs

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
	$(BIN)/zizmor --quiet --offline --strict-collection .github
	$(BIN)/python .ci/words.py

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(FORMATTED)

# Measures and writes benchmarks/results: a JSON file for this machine, the page, its plots.
bench: $(BENCH_VENV)/.installed
	$(BENCH_VERIFY)
	$(BENCH)
	$(BENCH_VENV)/bin/python benchmarks/report.py

bench-full: $(BENCH_VENV)/.installed
	$(BENCH_VERIFY)
	$(BENCH) --full --seconds 4
	$(BENCH_VENV)/bin/python benchmarks/report.py

# Where the time goes: results/profile.md. Needs perf.
bench-profile: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python benchmarks/profile_phases.py

# What a σ means, on photographs: results/sigma.json, its page and the table in docs/sigma.md.
bench-sigma: $(VENV)/.installed
	$(BIN)/python benchmarks/sigma.py

# Larger than memory: results/tiled.json, its page and plot. [SIDE=16384] of the large image.
bench-tiled: $(VENV)/.installed
	$(BIN)/python benchmarks/gigapixel.py $(if $(SIDE),--side $(SIDE))

# Layers of the field beside plain PyTorch: results/layers.json and the table in docs/migration.md.
bench-layers: $(VENV)/.installed
	$(BIN)/python benchmarks/layers.py

# Makes the pages and the tables in README.md again from the existing JSON files.
bench-report: $(VENV)/.installed
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/sigma.py --report
	$(BIN)/python benchmarks/layers.py --report
	$(BIN)/python benchmarks/gigapixel.py --report
	cd benchmarks && $(CURDIR)/$(BIN)/python -m gpu.report

# On a machine with a GPU and nvcc: writes benchmarks/results/gpu-<device>.json, gpu.md and its plot.
# GPU_PYTHON: a Python that has torch with CUDA and everything else, instead of .venv's.
GPU_PYTHON ?= $(CURDIR)/$(BIN)/python
GPU_READY := $(if $(filter $(CURDIR)/$(BIN)/python,$(GPU_PYTHON)),$(VENV)/.ready)
bench-gpu: $(GPU_READY)
	rm -rf build/bench-gpu
	TREEFILTER_CUDA=ON CUDAARCHS=native $(GPU_PYTHON) -m pip install $(INSTALL_OPTIONS) \
	    --target build/bench-gpu . -C build-dir=build/bench-gpu-objects
	cd benchmarks && export PYTHONPATH=$(CURDIR)/build/bench-gpu && \
	    { $(GPU_PYTHON) -m gpu.measure; failed=$$?; $(GPU_PYTHON) -m gpu.report && exit $$failed; }

# Launches and barriers of a step on a GPU, counted in the emulation: results/gpu_counts.md.
gpu-counts: build/emulated/.built
	cd benchmarks && PYTHONPATH=$(CURDIR)/build/emulated $(CURDIR)/$(BIN)/python -m gpu.counts

# The drill: everything that only a GPU can show, in about nine minutes and without a network.
#   make gpu-build                                     where nvcc is: what is carried, build/gpu-check
#   make gpu-check GPU_PYTHON=python3 OUT=results      where the GPU is
#   make gpu-check OUT=… STEPS=tests TESTS=results/failed.txt CASES='TEL.*B=4'
#   make gpu-check DRY=1                               a rehearsal on the CPU, in emulation
#   make gpu-results FROM=results                      into benchmarks/results, under the device's name
# GPU_BUILD_PYTHON: of the version of the Python that the GPU is used from. It needs no torch.
GPU_BUILD_PYTHON ?= python3.12
GPU_ARCHITECTURE ?= 90
CARRIED := build/gpu-check
CARRIED_MIB := 60
STAMP = cd benchmarks && $(CURDIR)/$(BIN)/python -m gpu.check.sources $(CURDIR)
gpu-build: $(VENV)/.installed build/emulated/.built
	rm -rf $(CARRIED)
	mkdir -p $(CARRIED)
	$(GPU_BUILD_PYTHON) -m venv build/gpu-build
	build/gpu-build/bin/pip install --quiet --constraint constraints.txt \
	    cmake ninja pathspec pybind11 scikit-build-core
	PATH="$(CURDIR)/build/gpu-build/bin:$$PATH" TREEFILTER_CUDA=ON CUDAARCHS=$(GPU_ARCHITECTURE)-real \
	    NVCC_APPEND_FLAGS=--compress-mode=size \
	    build/gpu-build/bin/pip install $(INSTALL_OPTIONS) --no-compile --target $(CARRIED)/site . \
	    -C build-dir=build/gpu-build-objects -C cmake.define.TREEFILTER_VARIANTS=
	build/gpu-build/bin/pip install --quiet --no-deps --no-compile --constraint constraints.txt \
	    --target $(CARRIED)/packages docstring-parser typeguard tyro
	$(STAMP)/$(CARRIED)/site
	cd benchmarks && $(CURDIR)/$(BIN)/python -m gpu.check.smoke make $(CURDIR)/$(CARRIED)/expected-cpu.pt
	cd benchmarks && PYTHONPATH=$(CURDIR)/build/emulated $(CURDIR)/$(BIN)/python \
	    -m gpu.check.smoke bits $(CURDIR)/$(CARRIED)/expected-emulation.pt $(CURDIR)/$(CARRIED)/expected-cpu.pt
	@size=$$(du -sm $(CARRIED) | cut -f1); echo "$(CARRIED): $$size MiB"; \
	    [ $$size -le $(CARRIED_MIB) ] || { echo "more than $(CARRIED_MIB) MiB"; exit 1; }

OUT ?= $(if $(DRY),build/gpu-check-dry)
gpu-check: $(if $(DRY),$(VENV)/.installed build/emulated/.built)
	@test -n "$(OUT)" || { echo "usage: make gpu-check OUT=folder [DRY=1] [STEPS=…] [CASES=…] [TESTS=…]"; \
	    exit 2; }
	cd benchmarks && $(GPU_PYTHON) -m gpu.check $(if $(DRY),--dry) --out "$(abspath $(OUT))" \
	    --steps "$(STEPS)" --cases "$(CASES)" \
	    --tests "$(if $(wildcard $(TESTS)),$(abspath $(TESTS)),$(TESTS))"

gpu-results: $(VENV)/.installed
	@test -n "$(FROM)" || { echo "usage: make gpu-results FROM=folder"; exit 2; }
	cd benchmarks && $(CURDIR)/$(BIN)/python -m gpu.check.publish "$(abspath $(FROM))"

# Compares the speed with that of a commit: BASE=main~3 [CASES=regex] [SECONDS=2] [NEW=ref] [THREADS=1].
bench-compare: $(VENV)/.ready
	@test -n "$(BASE)" || { echo "usage: make bench-compare BASE=ref [CASES=regex] [SECONDS=2]"; exit 2; }
	@$(BIN)/python benchmarks/compare.py "$(BASE)" --cases "$(CASES)" $(if $(NEW),--new "$(NEW)") \
	    $(if $(SECONDS),--seconds $(SECONDS)) $(if $(THREADS),--threads $(THREADS))

# The native code under AddressSanitizer and UBSan, in an ordinary Python.
NATIVE_TESTS := tests/test_mst.py tests/test_tree.py tests/test_filter.py tests/test_distance.py \
                tests/test_edge_weight.py tests/test_errors.py tests/test_arguments.py \
                tests/test_trees_from_outside.py tests/test_dendrogram.py tests/test_watershed.py \
                tests/test_bottleneck.py tests/test_persistence.py tests/test_malis.py
DERIVATIVE_TESTS := tests/test_filter_derivatives.py tests/test_filter_precision.py tests/test_ops.py \
                    tests/test_euclidean_derivatives.py \
                    tests/test_losses.py::test_l1_difference_and_its_gradients
# Of the tests of transformations and exporting those that call the most of the device code.
TRANSFORM_TESTS := tests/test_vmap.py::test_vmap_has_the_bits_of_a_loop \
                   tests/test_vmap.py::test_mapped_and_common_trees \
                   tests/test_forward_mode.py::test_tangents_equal_those_of_the_reference \
                   tests/test_functorch.py::test_gradients_inside_and_outside_of_vmap \
                   tests/test_functorch.py::test_forward_mode_inside_and_outside_of_vmap \
                   tests/test_export.py::test_every_function_with_dynamic_sizes
test-asan: $(VENV)/.ready
	rm -rf build/asan
	$(INSTALL) --target build/asan . -C build-dir=build/asan-objects \
	    -C cmake.define.TREEFILTER_SANITIZE=address,undefined -C cmake.define.TREEFILTER_VARIANTS=
	PYTHONPATH=$(CURDIR)/build/asan ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 \
	    LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	    TREEFILTER_FROM=$(CURDIR)/build/asan $(BIN)/pytest -q -n auto --maxprocesses 8 $(NATIVE_TESTS) \
	    tests/fuzz

# Clang with its own standard library, without OpenMP, warnings as errors: all tests or TESTS, and the same
# bits as the build in .venv. Needs clang, libc++-dev and libc++abi-dev.
test-clang: $(VENV)/.installed
	rm -rf build/clang
	CC=clang CXX=clang++ CXXFLAGS=-stdlib=libc++ TREEFILTER_WERROR=ON $(INSTALL) --target build/clang . \
	    -C build-dir=build/clang-objects -C cmake.define.CMAKE_DISABLE_FIND_PACKAGE_OpenMP=ON
	for set in baseline avx2; do \
	    export TREEFILTER_INSTRUCTION_SET=$$set; \
	    $(BIN)/python tests/test_instruction_sets.py > build/clang/expected.json || exit 1; \
	    PYTHONPATH=$(CURDIR)/build/clang $(BIN)/python tests/test_instruction_sets.py build/clang/expected.json || exit 1; \
	done
	PYTHONPATH=$(CURDIR)/build/clang TREEFILTER_FROM=$(CURDIR)/build/clang $(BIN)/pytest -q -n auto --maxprocesses 8 $(TESTS)

# All device code on the CPU, compared with the CPU's code and brute force, in every order of its threads;
# then, under ThreadSanitizer, the device code on real threads and all threaded CPU code.
EMULATED := emulated_runtime emulated_mst emulated_filter emulated_edge_weight emulated_distance \
            emulated_dendrogram
test-native: $(VENV)/.ready
	cmake -G Ninja -S . -B build/native -DTREEFILTER_NATIVE_TESTS=ON -DTREEFILTER_WERROR=$(or $(TREEFILTER_WERROR),OFF)
	cmake --build build/native
	for test in $(EMULATED); do build/native/$$test || exit 1; done

test-tsan: $(VENV)/.ready
	cmake -G Ninja -S . -B build/tsan -DTREEFILTER_NATIVE_TESTS=ON -DTREEFILTER_SANITIZE=thread
	cmake --build build/tsan
	for test in race $(EMULATED); do build/tsan/$$test race || exit 1; done

# The device code on the CPU (src/cuda/runtime/launch.cuh), instead of the CPU's own, through the ordinary
# tests. Then, in another order of the threads, as if blocks had hardly any shared memory, and with fewer
# generated examples, through those that call the most of it.
ORDER_TESTS := tests/test_mst.py tests/test_filter.py tests/test_distance.py tests/test_edge_weight.py \
               tests/test_dendrogram.py tests/test_watershed.py tests/test_bottleneck.py \
               tests/test_malis.py tests/test_filter_derivatives.py tests/test_filter_precision.py
EMULATED_PYTEST = PYTHONPATH=$(CURDIR)/build/emulated TREEFILTER_FROM=$(CURDIR)/build/emulated \
                  $(BIN)/pytest -q -n auto --maxprocesses 8
test-emulated: build/emulated/.built
	TREEFILTER_EMULATION=forward TREEFILTER_EMULATION_SHARED=232448 HYPOTHESIS_PROFILE=ci \
	    $(EMULATED_PYTEST) $(NATIVE_TESTS) $(DERIVATIVE_TESTS) $(TRANSFORM_TESTS) tests/test_gpu_counts.py
	TREEFILTER_EMULATION=shuffled TREEFILTER_EMULATION_SHARED=2048 HYPOTHESIS_PROFILE=drill \
	    $(EMULATED_PYTEST) $(ORDER_TESTS)

# Tests that would fail beside a GPU, because they mix its tensors with the CPU's: with a pretended one.
PRETENDED_TESTS := tests/test_graph.py tests/test_nn.py tests/test_take.py tests/test_tree.py \
                   tests/test_mst.py tests/test_filter.py tests/test_edge_weight.py tests/test_distance.py \
                   tests/test_filter_derivatives.py tests/test_dendrogram.py tests/test_watershed.py \
                   tests/test_bottleneck.py tests/test_persistence.py tests/test_malis.py tests/test_layers_on_devices.py
test-pretended: build/emulated/.built
	TREEFILTER_PRETEND_GPU=1 HYPOTHESIS_PROFILE=few $(EMULATED_PYTEST) $(PRETENDED_TESTS) \
	    -k "cuda and not million and not large and not edge_set and not every_kind"

build/emulated/.built: $(VENV)/.ready CMakeLists.txt pyproject.toml $(SOURCES) $(PACKAGE)
	rm -rf build/emulated
	$(INSTALL) --target build/emulated . -C build-dir=build/emulated-objects \
	    -C cmake.define.TREEFILTER_EMULATE=ON -C cmake.define.TREEFILTER_CUDA=OFF
	$(STAMP)/build/emulated
	touch $@

# If nvcc is installed: the CUDA build for one architecture, warnings as errors, its kernels compared with a
# budget of registers (WRITE=1 writes it anew), and an import, for which no GPU is needed.
test-cuda-build: $(VENV)/.ready
	@command -v nvcc >/dev/null || { echo "no nvcc here: the CUDA build is not checked"; exit 0; }; \
	set -e; rm -rf build/cuda; mkdir -p build/cuda; \
	TREEFILTER_CUDA=ON TREEFILTER_WERROR=ON CUDAARCHS=90 $(BIN)/pip install -v --no-build-isolation \
	    --no-deps --no-index --target build/cuda/site . -C build-dir=build/cuda/objects \
	    -C cmake.define.TREEFILTER_VARIANTS= -C cmake.define.CMAKE_CUDA_FLAGS="-Xptxas -v" \
	    > build/cuda/log 2>&1 || { cat build/cuda/log; exit 1; }; \
	$(BIN)/python tests/ptxas_budget.py build/cuda/log $(if $(WRITE),--write); \
	PYTHONPATH=$(CURDIR)/build/cuda/site TREEFILTER_FROM=$(CURDIR)/build/cuda/site \
	    $(BIN)/pytest -q tests/test_nn.py tests/test_errors.py

# On a GPU of one's own: the drill's tests and sanitizers, all examples, and all the time they want. No
# step stops the next one; what failed is in build/test-gpu/failed.txt.
test-gpu: $(VENV)/.ready
	rm -rf build/test-gpu-site
	TREEFILTER_CUDA=ON CUDAARCHS=native $(INSTALL) --target build/test-gpu-site . \
	    -C build-dir=build/test-gpu-objects -C cmake.define.TREEFILTER_VARIANTS=
	$(STAMP)/build/test-gpu-site
	cd benchmarks && $(CURDIR)/$(BIN)/python -m gpu.check --out $(CURDIR)/build/test-gpu \
	    --site $(CURDIR)/build/test-gpu-site --steps tests,alone --patience 100 --examples ci

# A CPU wheel for each of WHEEL_PYTHONS, repaired, checked and tried in an empty environment with torch
# (WHEEL_TORCH): build/wheel/dist. An example: make wheel WHEEL_PYTHONS="python3.12 /opt/python3.13/bin/python".
WHEEL_PYTHONS ?= $(shell for minor in 10 11 12 13; do python3.$$minor -c "" 2>/dev/null && echo python3.$$minor; done)
wheel: build/wheel/tools/.ready
	rm -rf build/wheel/*.tar.gz build/wheel/dist
	build/wheel/tools/bin/python -m build --sdist --outdir build/wheel .
	build/wheel/tools/bin/python .ci/wheel.py $(WHEEL_PYTHONS)

build/wheel/tools/.ready: .ci/wheel_requirements.txt
	rm -rf build/wheel/tools
	$(PYTHON) -m venv build/wheel/tools
	build/wheel/tools/bin/pip install --quiet -r .ci/wheel_requirements.txt
	touch $@

# What a user gets: an sdist, the wheel built from it without torch, and a package that can be imported.
test-dist: $(VENV)/.ready
	rm -rf build/dist
	$(BIN)/python -m build --sdist --outdir build/dist .
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/dist build/dist/*.tar.gz
	$(BIN)/pip install --quiet --no-deps --no-index --target build/dist/site build/dist/*.whl
	cd build/dist && PYTHONPATH=site $(CURDIR)/$(BIN)/python $(CURDIR)/tests/test_examples.py

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(DOCS_VENV) docs/_build docs/auto_gallery build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(VENV)/.ready: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -r constraints.txt
	touch $@

# The working tree, or a WHEEL that was just made of it: .ci/run tests what is published, and builds it once.
$(VENV)/.installed: $(VENV)/.ready CMakeLists.txt pyproject.toml $(SOURCES) $(PACKAGE) $(TEL)/pyproject.toml
	$(INSTALL) $(if $(WHEEL),--force-reinstall $(WHEEL),.)
	$(INSTALL) -e $(TEL)
	touch $@

# The environments beside .venv: each has its own requirements, and treefilter.
$(BENCH_VENV)/.ready: benchmarks/requirements.txt
$(DOCS_VENV)/.ready: docs/requirements.txt

.venv-%/.ready: constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --upgrade pip
	$(@D)/bin/pip install --quiet -r $(filter %/requirements.txt,$^)
	touch $@

.venv-%/.installed: .venv-%/.ready CMakeLists.txt pyproject.toml $(SOURCES) $(PACKAGE)
	PATH="$(CURDIR)/$(@D)/bin:$$PATH" $(@D)/bin/pip install $(INSTALL_OPTIONS) .
	touch $@
