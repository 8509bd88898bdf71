# Each target sets up everything it needs, on a machine with Python >= 3.11 and a package index.
PYTHON ?= python3
BIN := .venv/bin
PHOTO := tests/photos/astronaut.jpg
OTHER := tests/photos/grace_hopper.jpg
# files of tests that run at a time, each on one thread: more would only wait for each other
WORKERS ?= 2

.PHONY: demo test check bench models-page lock clean
.DEFAULT_GOAL := demo

demo: .venv/ready-core  ## find the faces of a real photograph, as JSON and as a picture, and compare two people
	@echo "== fetching the weights (once; about 107 MB to download, 72 MB kept)"
	$(BIN)/mien models pull
	@echo "== the faces of a photograph, as JSON"
	$(BIN)/mien analyze $(PHOTO) --json --save demo
	@echo "== the same photograph, annotated: demo/astronaut.jpg"
	@echo "== do two photographs show one person? (exit code 1: no)"
	$(BIN)/mien verify $(PHOTO) $(OTHER) || test $$? -eq 1

test: .venv/ready-dev  ## run every test on real photographs
	@echo "== fetching the weights, unless they are cached"
	$(BIN)/mien models pull
	@echo "== running the tests"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: .venv/ready-dev  ## linters, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/Dockerfile

bench: .venv/ready-bench  ## this machine, mien beside its peers
	$(BIN)/mien models pull
	$(BIN)/mien benchmark $(PHOTO)

models-page: .venv/ready-dev  ## write MODELS.md from the records
	$(BIN)/mien models list --markdown > MODELS.md

lock: .venv/ready-core  ## resolve again what CI installs
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --group test --group check pyproject.toml requirements/build.in -o requirements/dev.lock

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "mien needs Python 3.11 or later; point to one with: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "== making the virtual environment .venv"
	$(PYTHON) -m venv .venv
	@touch $@

.venv/ready-core: .venv/python pyproject.toml
	@echo "== installing mien"
	@test -e .venv/ready-dev || $(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/ready-dev: .venv/python pyproject.toml requirements/dev.lock requirements/torch.txt
	@echo "== installing mien and what its tests need, as locked in requirements/dev.lock"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/ready-bench: .venv/ready-core requirements/peers.txt
	@echo "== installing the peers"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/peers.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps face-recognition face-recognition-models==0.3.0
	@touch $@

clean:
	rm -rf .venv demo build dist
