# make demo: see it work.  make test: everything CI runs.  make test-kill: kill runs, for half an hour.
# make test-backends: the same vectors from TensorFlow and JAX.
# make lock: renew the locks (needs uv).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-backends test-kill check lock clean

demo: $(READY)
	$(BIN)/python -m examples.demo --output demo-output

test: check
	$(BIN)/pytest -n 2 --dist worksteal

test-backends: $(READY)
	$(BIN)/pytest tests/jobs/backends

test-kill: $(READY)
	KILLS=50 HISTORIES=30 $(BIN)/pytest tests/jobs/kill

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/codespell

# The lock is whole; looking for dependencies, pip would find newer ones than those in it.
$(READY): requirements-dev.lock pyproject.toml
	@echo "Making the environment in $(VENV): about 3 GB, a few minutes, only this once ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes \
		-r requirements-dev.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@

LOCK = uv pip compile pyproject.toml --universal --python-version 3.10 --generate-hashes \
	--no-annotate --no-header --quiet
lock:
	$(LOCK) --output-file requirements.lock
	$(LOCK) --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) .cache demo-output
