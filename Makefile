# Two commands: `make train` trains an agent on this machine, `make test` checks the project.
# ARGS passes overrides on: make train ARGS="seed=2 algorithm.lr=1e-4".
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 -c '' 2>/dev/null && echo python3.12 || echo python3.11)
ARGS ?=
SEED := $(shell date +%s)
VENV := .venv
VENV_GPU := .venv-gpu
VENV_NEWEST := .venv-newest
BIN := $(VENV)/bin

.PHONY: train train-gpu test test-full test-newest mutation faults lint setup setup-gpu clean

setup: $(VENV)/.ready
setup-gpu: $(VENV_GPU)/.ready

$(VENV)/.ready: pyproject.toml constraints/cpu.txt
	@echo "Setting up $(VENV): 3 GB with PyTorch's CPU build (see the README), 8 GB with the default one; about 5 minutes."
	$(PYTHON) -m venv $(VENV)
	@# The pip that comes with Python 3.11 takes twice as long to look at what the index offers.
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints/cpu.txt --editable '.[dev]'
	@# It asks for gradio, which its client does not need and whose versions contradict ours.
	$(BIN)/python -m pip install --quiet --no-deps openenv-core==0.3.0
	@touch $@

$(VENV_GPU)/.ready: pyproject.toml constraints/gpu.txt
	@echo "Setting up $(VENV_GPU): CUDA 13, vLLM and verl, about 11 GB; about 10 minutes."
	$(PYTHON) -m venv $(VENV_GPU)
	$(VENV_GPU)/bin/python -m pip install --quiet --no-deps --requirement constraints/gpu.txt
	$(VENV_GPU)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

train: setup
	$(BIN)/python -m rlagent.train +experiment=gsm8k_react hardware=cpu $(ARGS)

train-gpu: setup-gpu
	$(VENV_GPU)/bin/python -m rlagent.train +experiment=gsm8k_react $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet --site-dir .site

# Two at a time, but for those that start Ray: a real run has both cores of a small machine for itself.
test: setup lint
	$(BIN)/python -m pytest tests/unit -n 2 -m "not gpu and not slow"
	$(BIN)/python -m pytest tests/cpu -n 2 --dist loadfile -m "not gpu and not slow and not alone"
	$(BIN)/python -m pytest tests/cpu -m "alone and not gpu and not slow" --durations=10

# In another order each time; make test-full SEED=... repeats one that is shown. It takes hours on
# two cores: whatever fails, the rest is run, too.
test-full: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --timeout=1800 -m "not gpu and not alone" \
		-p randomly --randomly-seed=$(SEED) --durations=40; rest=$$?; \
	$(BIN)/python -m pytest -m "alone and not gpu" -p randomly --randomly-seed=$(SEED) --durations=40 \
		&& exit $$rest

# With the newest versions that pyproject.toml allows instead of those of constraints/: which library
# has changed under us. To be run weekly by whoever schedules this project's tests.
test-newest:
	rm -rf $(VENV_NEWEST)
	$(PYTHON) -m venv $(VENV_NEWEST)
	$(VENV_NEWEST)/bin/python -m pip install --quiet --editable '.[dev]'
	$(VENV_NEWEST)/bin/python -m pytest tests/unit -n 2 -m "not gpu and not slow"
	$(VENV_NEWEST)/bin/python -m pytest tests/cpu/test_patch_effects.py

# Which changes of the pure decision modules no test notices ([tool.mutmut] in pyproject.toml).
mutation: setup
	$(BIN)/python -m pip install --quiet --constraint constraints/cpu.txt --editable '.[mutation]'
	$(BIN)/python -m mutmut run

# Every fault at every moment, about a minute each; a second call goes on where the first was cut
# off. make faults ARGS="--only SIGSTOP" runs some.
faults: setup
	$(BIN)/python -m benchmarks.faults $(ARGS)

clean:
	rm -rf $(VENV) $(VENV_GPU) $(VENV_NEWEST) .pytest_cache .mypy_cache .ruff_cache
