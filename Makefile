# make drift    every backend held against the oracle: makes .venv, installs, writes drift.json and a report beside it
#               make drift VARIANTS="tensorflow jax"    installs and runs only those
# make test     style, types and all tests but the slow ones;  make test-slow: all tests
#               both run WORKERS tests at once (2)
# make clean    removes all that this file makes, .venv too

PYTHON ?= python3
VARIANTS ?= tensorflow tf-keras jax torch openvino openvino-f32 numpy
DRIFT ?= drift.json
SELECT ?= -m "not slow"
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
empty :=
comma := ,
commas = $(subst $(empty) $(empty),$(comma),$(strip $(1)))
# A stamp is named after the extras that it stands for: .venv/installed/jax,torch
installed = $(VENV)/installed/$(call commas,$(1))

.PHONY: drift test test-slow clean
.DELETE_ON_ERROR:

drift: $(call installed,$(VARIANTS))
	$(BIN)/refnet drift --weights synthetic --variants $(call commas,$(VARIANTS)) --json $(DRIFT)

# mypy knows no package-dir: it gets a copy in which kernels/ lies where it is installed.
test: $(call installed,all test)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/types && mkdir -p build/types
	cp -R refnet build/types/refnet && cp -R kernels build/types/refnet/kernels
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p refnet
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(SELECT)

test-slow: SELECT =
test-slow: test

$(VENV)/installed/%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	mkdir -p $(@D) && touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "refnet needs Python 3.11 or newer; say which one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist refnet.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -rf $(basename $(DRIFT)) $(basename $(DRIFT)).*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
