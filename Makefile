# make demo: set up, run the tour, export its app, start it and ask it.   make test: set up and run every check.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long lab notebooks lock clean

demo: .venv/ready data/models/minilm/.stamp
	@$(BIN)/conduit-lab demo

test: .venv/ready data/models/minilm/.stamp .venv/browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

test-long: .venv/ready data/models/minilm/.stamp .venv/browser
	@$(BIN)/python -m tests.real.wheels
	$(BIN)/pytest -m long

lab: .venv/ready data/models/minilm/.stamp
	$(BIN)/conduit-lab lab notebooks/01_tour.ipynb

# runs every notebook and keeps its outputs, to be committed; a progress bar would be kept as a widget that is dead
notebooks: .venv/ready data/models/minilm/.stamp
	TQDM_DISABLE=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

.venv/ready: requirements.lock pyproject.toml
	@echo "· making .venv from requirements.lock (a minute or two the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

data/models/minilm/.stamp: data/make/minilm.py | .venv/ready
	@$(BIN)/python data/make/minilm.py
	@touch $@

# Chromium for the browser tests: from Debian where this user may install it, else those tests are skipped and say so.
.venv/browser: | .venv/ready
	@command -v chromium >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || { \
	  echo "· installing Chromium from Debian"; apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }
	@touch $@

lock:
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
	  --extra lab --extra ann --extra remote --extra optimize --extra constrained --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv build indexes data/models/minilm
