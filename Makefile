# make demo, make test, make lint and make bench set everything up themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Spinning threads slow a busy machine down thirtyfold.
export OMP_WAIT_POLICY := passive

OPS := layer_norm rms_norm add_layer_norm add_rms_norm l2_norm qk_norm group_norm batch_norm

.PHONY: demo test lint bench power honest peers kernels test-gpu survey schema clean

demo: $(VENV)/.runtime
	$(BIN)/normcheck demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	# import-linter follows no links and sees no folder without __init__.py: it gets a plain copy.
	rm -rf build/floors && mkdir -p build/floors && cp -rL normcheck build/floors/
	find build/floors -type d -not -name __pycache__ -exec touch {}/__init__.py \;
	cd build/floors && ../../$(BIN)/lint-imports --config ../../pyproject.toml

bench: $(VENV)/.dev
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only -p no:cacheprovider

# Each writes its page in docs/: minutes, on a quiet machine.
power: $(VENV)/.dev
	$(BIN)/python tests/engine/write_power.py

honest: $(VENV)/.dev
	$(BIN)/python -m tests.honest.write_table

peers: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/peers/write_table.py

# Our kernels by all properties in standard, in Triton's interpreter: hours.
kernels: $(VENV)/.dev
	$(BIN)/python tests/kernels/strict_bits.py 204
	$(BIN)/python tests/kernels/judge_mutants.py
	for target in sm_80 sm_90 sm_100 gfx942; do \
	  $(BIN)/python tests/kernels/compiled_launches.py $$target || exit 1; \
	done
	for op in $(OPS); do \
	  $(BIN)/normcheck run tests/kernels/interpreted.py:$$op --op $$op --dtype float16,bfloat16,float32,float64 --verdict-only || exit 1; \
	done

# Needs a GPU: verdicts, bits and timings of our kernels, in build/gpu.json.
test-gpu: $(VENV)/.dev
	$(BIN)/python -m pytest tests/gpu -rs

survey: $(VENV)/.dev
	$(BIN)/normcheck survey -o build/survey --resume
	cp build/survey/survey.md build/survey/survey.json docs/

schema: $(VENV)/.dev
	$(BIN)/python tests/write_schema.py

clean:
	rm -rf $(VENV) build dist *.egg-info normcheck-demo

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --upgrade pip setuptools

$(VENV)/.runtime: $(BIN)/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	# setuptools warns of every editable install from a folder named like the package.
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --constraint constraints.txt --editable '.[reports]'
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/pip install --quiet --constraint constraints.txt --group dev
	touch $@
