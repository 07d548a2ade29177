# Everything that is done with this tree. `make help` lists it.

PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
FINE_TUNE_VENV ?= .venv-fine-tune
# A folder with MNIST's four files; without it they are looked for, and fetched, by name.
MNIST ?=
# Fashion-MNIST's training images.
fashion ?= fashion-mnist

# As on a machine of a user, who has none of these set.
unexport PYTHONPATH PYTHONHOME PYTHONUNBUFFERED

SOURCES := pyproject.toml setup.py tools/declarations.py $(wildcard csrc/* csrc/units/* data/recipes/*) \
    $(shell find rbmcli -name '*.py' -o -name '*.pyx' -o -name '*.pyi' -o -name '_guard.c')

mnist := $(if $(MNIST),$(MNIST)/train-images-idx3-ubyte.gz,mnist)
test := $(if $(MNIST),$(MNIST)/t10k-images-idx3-ubyte.gz,mnist:test)
test_labels := $(if $(MNIST),--labels $(MNIST)/t10k-labels-idx1-ubyte.gz)
classifier_labels := $(if $(MNIST),--classifier-labels $(MNIST)/train-labels-idx1-ubyte.gz)
labels := $(if $(MNIST),--labels $(MNIST)/train-labels-idx1-ubyte.gz)

# Real-valued images; docs/results.md says what comes of them.
FASHION_OPTIONS := --preprocess standardize --visible-kind gaussian --hidden-kind nrelu --hidden 200 \
    --lr 0.0001 --epochs 100 --snapshot-every 10epochs
EDGES_OPTIONS := --patches 40000:12x12 --preprocess contrast,zca --visible-kind gaussian:learned \
    --hidden-kind nrelu --hidden 100 --lr 0.01 --weight-decay 0.001 --sparsity-target 0.1 \
    --sparsity-cost 0.5 --max-spectral-norm 0.7 --epochs 100 --snapshot-every 10epochs

# $(call install,environment,what,variables): what is left of an earlier build must not get in.
define install
@echo "Building rbmcli and installing it into $(1)"
@rm -rf build
@$(3) $(1)/bin/python -m pip install --quiet '$(2)' || { echo "make: pip could not install rbmcli \
(see above); it needs a package index that it can reach, or wheels at hand" >&2; exit 1; }
@touch $@
endef

# How long `make fuzz` goes on, in seconds.
FUZZ_SECONDS ?= 600

# All that `make reproduce` makes.
RESULTS := $(addprefix results/,seven.gif cd1-cd5.gif filters500.gif pcd16.txt pcd500.txt completed.png \
    edges.png natural.gif natural-0.png natural-1.png fashion.png bars-and-stripes.png estimates.txt deep.txt labels.txt labels.png dbn.txt dbn.png \
    fine-tuned.txt maps.txt strokes.png occluded.png)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PRECIOUS: results/%.h5
.PHONY: help demo test lint format bench sanitize faults fuzz reproduce wheel clean

help: ## List what make can do
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "  PYTHON=python3.12 chooses the Python, VENV=folder the virtual environment (.venv)"

demo: demo/filters.gif demo/filters.png ## Build, train on the embedded digits and draw the filters
	@echo "The filters: $(CURDIR)/demo/filters.gif, at the end of training: demo/filters.png"

test: $(VENV)/dev ## Install the package as it ships, warnings being errors, and test it
	PYTHONSAFEPATH=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile

lint: $(VENV)/dev ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run -Werror csrc/*.[ch] csrc/units/*.h tests/spin/*.h tests/race/*.[ch] rbmcli/_guard.c

format: $(VENV)/dev ## Bring the code into the project's style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i csrc/*.[ch] csrc/units/*.h tests/spin/*.h tests/race/*.[ch] rbmcli/_guard.c

bench: $(BENCH_VENV)/installed ## Time an epoch against peers, and a stack against its layers (MNIST=folder)
	$(BENCH_VENV)/bin/python benchmarks/epoch.py $(if $(MNIST),--mnist $(mnist))
	$(BENCH_VENV)/bin/python benchmarks/convolving.py $(if $(MNIST),--mnist $(mnist))
	$(BENCH_VENV)/bin/python benchmarks/stacking.py $(if $(MNIST),--mnist $(mnist))

sanitize: $(VENV)/dev ## Run the kernel tests under AddressSanitizer and UBSan, the team under TSan
	sh tests/sanitize.sh $(VENV)/bin/python

# From the folder of the tests, so that the package is the one that is installed.
faults: $(VENV)/dev ## Let every write of every command fail, and kill trainings 2000 times (an hour)
	cd tests && $(abspath $(VENV))/bin/python -m faults.sweep
	cd tests && $(abspath $(VENV))/bin/python -m faults.kills --kills 2000

fuzz: $(VENV)/dev ## Give broken files to every reader (FUZZ_SECONDS=600)
	cd tests && $(abspath $(VENV))/bin/python -m faults.fuzz --seconds $(FUZZ_SECONDS)

reproduce: $(RESULTS) ## Make everything in docs/results.md but times (MNIST=folder; two hours)
	@ls -l $^

wheel: $(VENV)/dev ## Build the source distribution, and from it a wheel, into dist/
	rm -rf build dist
	$(VENV)/bin/python -m build

clean: ## Remove all that make has made, the virtual environments too
	rm -rf .venv .venv-bench .venv-fine-tune build demo dist results *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache rbmcli/_kernels.c rbmcli/_core.pxd rbmcli/_*.so
	find rbmcli tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python $(BENCH_VENV)/bin/python $(FINE_TUNE_VENV)/bin/python:
	@sh tools/preflight.sh $(PYTHON)
	$(PYTHON) -m venv $(@:/bin/python=)

# Another compiler makes another build.
%/compiler: FORCE | %/bin/python
	@echo '$(CC)' | cmp -s - $@ || echo '$(CC)' > $@
FORCE:

$(VENV)/installed: $(SOURCES) $(VENV)/compiler | $(VENV)/bin/python
	$(call install,$(VENV),.)

$(VENV)/dev: $(SOURCES) $(VENV)/compiler | $(VENV)/bin/python
	$(call install,$(VENV),.[dev],RBM_STRICT=1)

$(VENV)/reproduce: $(SOURCES) $(VENV)/compiler | $(VENV)/bin/python
	$(call install,$(VENV),.[reproduce])

$(BENCH_VENV)/installed: $(SOURCES) $(BENCH_VENV)/compiler | $(BENCH_VENV)/bin/python
	$(call install,$(BENCH_VENV),.[bench])

$(FINE_TUNE_VENV)/installed: $(SOURCES) $(FINE_TUNE_VENV)/compiler | $(FINE_TUNE_VENV)/bin/python
	$(call install,$(FINE_TUNE_VENV),.[fine-tune])

demo/run.h5: $(VENV)/installed
	@mkdir -p $(@D)
	$(VENV)/bin/rbm train digits --hidden 64 --epochs 60 --weight-decay 0.002 --force -o $@

demo/filters.gif demo/filters.png: demo/run.h5
	$(VENV)/bin/rbm render-gif $^ --scale 3 --force -o $@

results/deep.h5 results/labels.h5 results/dbn.h5 results/maps.h5 results/strokes.h5: results/%.h5: $(VENV)/installed
	@mkdir -p $(@D)
	$(VENV)/bin/rbm stack $(mnist) $(labels) --recipe $* --force -o $@

results/%.h5: $(VENV)/installed
	@mkdir -p $(@D)
	$(VENV)/bin/rbm train $(mnist) $(labels) --recipe $* --force -o $@

# The exact or estimated likelihood of the test images.
results/pcd%.txt: results/pcd%.h5
	$(VENV)/bin/rbm evaluate $< $(test) > $@
	@cat $@

# What deep networks make of the test images: a linear classifier on their features, their label units
# before and after up-down, the bound on the likelihood.
results/deep.txt: results/deep.h5 | $(VENV)/reproduce
	$(VENV)/bin/rbm evaluate $< $(test) $(test_labels) --classifier $(mnist) $(classifier_labels) > $@
	@cat $@

results/labels.txt: results/labels.h5
	$(VENV)/bin/rbm evaluate $< $(test) $(test_labels) --greedy > $@
	$(VENV)/bin/rbm evaluate $< $(test) $(test_labels) >> $@
	@cat $@

results/dbn.txt: results/dbn.h5
	$(VENV)/bin/rbm evaluate $< $(test) --bound-samples 10 > $@
	@cat $@

# A linear SVM on the pooled units of two layers of filters.
results/maps.txt: results/maps.h5 | $(VENV)/reproduce
	$(VENV)/bin/python reproduce/linear_svm.py $< $(mnist) $(test) $(labels) \
	    $(if $(MNIST),--test-labels $(MNIST)/t10k-labels-idx1-ubyte.gz) > $@
	@cat $@

# What such layers draw, and how they complete the right halves of test images.
results/strokes.png: results/strokes.h5
	$(VENV)/bin/rbm sample $< --walk up-down -k 100 -n 60 --columns 12 --force -o $@

results/occluded.png: results/strokes.h5
	$(VENV)/bin/rbm sample $< --source $(test) --clamp left -k 100 -n 20 --force -o $@

results/labels.png: results/labels.h5
	$(VENV)/bin/rbm sample $< $(foreach class,0 1 2 3 4 5 6 7 8 9,--class $(class)) -n 10 -k 200 --force -o $@

results/dbn.png: results/dbn.h5
	$(VENV)/bin/rbm sample $< --start chains -k 200 --force -o $@

results/fine-tuned.txt: results/deep.h5 $(FINE_TUNE_VENV)/installed
	$(FINE_TUNE_VENV)/bin/rbm export $< --force -o results/deep.safetensors
	$(FINE_TUNE_VENV)/bin/python reproduce/fine_tune.py results/deep.safetensors $(mnist) $(test) \
	    $(labels) $(if $(MNIST),--test-labels $(MNIST)/t10k-labels-idx1-ubyte.gz) > $@
	@cat $@

# Test images completed from their upper halves.
results/completed.png: results/pcd500.h5
	$(VENV)/bin/rbm sample $< --source $(test) --clamp upper -n 20 --gibbs-steps 500 --force -o $@

results/fashion.h5: $(VENV)/installed
	$(VENV)/bin/rbm train $(fashion) $(FASHION_OPTIONS) --force -o $@

results/photos: $(VENV)/reproduce
	$(VENV)/bin/python reproduce/photographs.py $@

results/natural: $(VENV)/reproduce
	$(VENV)/bin/python reproduce/photographs.py $@ --natural

results/natural.h5: results/natural
	$(VENV)/bin/rbm stack $< --recipe natural --force -o $@

# What filters of either layer add to an image.
results/natural-%.png: results/natural.h5
	$(VENV)/bin/rbm render-gif $< --layer $* --scale 3 --force -o $@

results/edges.h5: results/photos
	$(VENV)/bin/rbm train $< $(EDGES_OPTIONS) --force -o $@

results/edges.png results/fashion.png: results/%.png: results/%.h5
	$(VENV)/bin/rbm render-gif $< --scale 3 --force -o $@

results/bars-and-stripes.png: $(VENV)/reproduce
	@mkdir -p $(@D)
	$(VENV)/bin/python reproduce/bars_and_stripes.py -o $@ > results/bars-and-stripes.txt
	@cat results/bars-and-stripes.txt

results/estimates.txt: $(VENV)/reproduce
	@mkdir -p $(@D)
	$(VENV)/bin/python reproduce/estimates.py $(mnist) $(test) > $@
	@cat $@

results/seven.gif: results/seven.h5
results/cd1-cd5.gif: results/cd1.h5 results/cd5.h5
results/filters500.gif: results/filters500.h5
results/natural.gif: results/natural.h5
results/%.gif:
	$(VENV)/bin/rbm render-gif $^ --force -o $@
