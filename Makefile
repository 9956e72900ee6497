# make drift    every backend held against the oracle: makes .venv, installs, writes drift.json and a report beside it
#               make drift VARIANTS="tensorflow jax"    installs and runs only those
# make evidence   every variant on PICTURES and WEIGHTS, where the right verdict is known: writes docs/evidence.md.
#               Takes hours, and goes on where it was interrupted; VARIANTS="torch jax" PICTURES=3 WEIGHTS=0 is a slice
# make replays  the backends' bits made again, on PICTURES and WEIGHTS: writes the other table of docs/evidence.md
# make test     style, types and all tests but the slow ones, the same examples each time
# make test-slow   the slow ones too, half an hour
# make test-all    all tests, with newly drawn examples, more than two hours
#               each runs WORKERS tests at once (2)
# make clean    removes all that this file makes, .venv too

PYTHON ?= python3
VARIANTS ?= default
DRIFT ?= drift.json
PICTURES ?= all
WEIGHTS ?= 0,1,2
SELECT ?= -m "not slow and not exhaustive" --hypothesis-profile same
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
# A variant's name begins with the extra that installs its backend; a word such as default or all needs every one.
BACKENDS := tensorflow tf-keras jax torch openvino numpy
extras = $(or $(strip $(foreach extra,$(BACKENDS),$(if $(filter $(extra) $(extra)-%,$(VARIANTS)),$(extra)))),$(BACKENDS))
empty :=
comma := ,
commas = $(subst $(empty) $(empty),$(comma),$(strip $(1)))
# A stamp is named after the extras that it stands for: .venv/installed/jax,torch
installed = $(VENV)/installed/$(call commas,$(1))

.PHONY: drift evidence replays test test-slow test-all clean
.DELETE_ON_ERROR:

drift: $(call installed,$(extras))
	$(BIN)/refnet drift --weights synthetic --variants $(call commas,$(VARIANTS)) --json $(DRIFT)

# On the command line VARIANTS chooses; else it is every variant, and not the default set.
evidence: VARIANTS = all
evidence: $(call installed,$(extras))
	$(BIN)/refnet evidence --variants $(call commas,$(VARIANTS)) --pictures $(PICTURES) --weights $(WEIGHTS) \
		--folder evidence --page docs/evidence.md

replays: VARIANTS = torch numpy tensorflow jax openvino-f32
replays: $(call installed,$(extras))
	$(BIN)/refnet evidence --replays --variants $(call commas,$(VARIANTS)) --pictures $(PICTURES) --weights $(WEIGHTS) \
		--threads 2 --folder evidence --page docs/evidence.md

# mypy knows no package-dir: it gets a copy in which kernels/ lies where it is installed.
test: $(call installed,all test)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/types && mkdir -p build/types
	cp -R refnet build/types/refnet && cp -R kernels build/types/refnet/kernels
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p refnet
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(SELECT)

test-slow: SELECT = -m "not exhaustive" --hypothesis-profile same
test-all: SELECT =
test-slow test-all: test

$(VENV)/installed/%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	mkdir -p $(@D) && touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "refnet needs Python 3.11 or newer; say which one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist evidence refnet.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -rf $(basename $(DRIFT)) $(basename $(DRIFT)).*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
