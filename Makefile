# Each target makes what it needs on a fresh machine: a virtual environment, the packages, then the work.
#
#   make demo     train, evaluate, export and verify a VAE on scikit-learn's digits (nothing downloaded but packages)
#   make test     the whole test suite; pytest alone leaves out what is marked slow
#   make lint     ruff
#   make bench    against PyTorch, pythae and scikit-learn (large packages)
#   make clean    remove the environments and what the demo made

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO = runs/vae_digits
ARTIFACT = dist/vae_digits

.PHONY: demo test lint bench clean

demo: $(VENV)/ready
	rm -rf $(ARTIFACT)
	$(BIN)/python -m training vae_digits --workdir $(DEMO)
	$(BIN)/python -m training.evaluate $(DEMO)
	$(BIN)/python -m training.sample $(DEMO) --num-samples 64 --seed 0 --out $(DEMO)/grid.png
	$(BIN)/python -m export $(DEMO) --out $(ARTIFACT)
	$(BIN)/python -m export.verify $(ARTIFACT)
	@echo
	@echo "sample grid: $(DEMO)/grid.png"
	@echo "artifact:    $(ARTIFACT)"

test: $(VENV)/ready
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# PyTorch's build for CPUs where there is one: the default build brings gigabytes of CUDA libraries.
bench: $(VENV)-bench/ready
	$(VENV)-bench/bin/python -m benchmarks

$(VENV)/ready: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

$(VENV)-bench/ready: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-bench/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-bench $(DEMO) $(ARTIFACT) build *.egg-info
