# make demo: see it work.  make test: everything CI runs.  make quick: unit tests, in two minutes.
# make check: linters and types.  make coverage: which lines the tests reach.
# make test-long: what takes long, in a few minutes more.
# make test-fuzz: parsers read damaged content, for an hour or FUZZ_MINUTES.
# make test-kill: kill runs, for half an hour.  make test-backends: TensorFlow and JAX agree.
# make test-models: model files by eight versions of Keras, for an hour or two (needs uv and
#   Python 3.8 to 3.11, or the network to get them); VERSIONS="2.15 3.5" takes some of them.
# make test-flink, make test-spark: runs on Beam's job servers for Flink and Spark (need Java, Maven).
# make test-hosts: runs over several hosts whose links are cut (needs root, iproute2, Java, Maven).
# make test-shared-fs: two hosts share an output over sshfs (needs root, sshfs and sshd).
# make test-deploy: Airflow itself loads and runs the DAGs of deploy/ (makes an environment with Airflow).
# make test-image: build the images with buildah (needs root, debootstrap, Go, and 20 GB).
# make schedule-demo: five nightly runs over a collection that changes, in a minute.
# make test-lowest: the unit tests on the lowest versions that pyproject.toml allows (needs uv).
# make picture: draw docs/architecture.svg from the imports.  make lock: renew the locks (needs uv).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test quick coverage test-backends test-fuzz test-kill test-long test-models test-shared-fs
.PHONY: test-lowest test-flink test-spark test-hosts test-deploy test-image schedule-demo check
.PHONY: picture lock clean

demo: $(READY)
	$(BIN)/python -m examples.demo --output demo-output

schedule-demo: $(READY)
	$(BIN)/python -m examples.schedule_demo

test: check
	$(BIN)/pytest -n 2 --dist worksteal -m "not long"

# Longer forms of tests that `make test` has in short.
test-long: $(READY)
	$(BIN)/pytest -n 2 --dist worksteal -m long

quick: $(READY)
	$(BIN)/ruff check .
	$(BIN)/pytest -n 2 --dist worksteal -q -m "not slow and not long" tests/encoder tests/pipeline tests/support

coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report= tests/encoder tests/pipeline tests/jobs \
		--ignore tests/jobs/kill --ignore tests/jobs/backends
	$(BIN)/coverage report

# Old versions of others warn of their own deprecations, which are not ours to mend.
LOWEST := .venv-lowest
test-lowest:
	uv venv --quiet --clear --python $(PYTHON) $(LOWEST)
	uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct '.[dev]' 'setuptools>=78,<81'
	$(LOWEST)/bin/python -m pytest -q -n 2 --dist worksteal -o filterwarnings=default -m "not slow" \
		tests/encoder tests/pipeline

test-backends: $(READY)
	$(BIN)/pytest tests/jobs/backends

test-kill: $(READY)
	KILLS=50 HISTORIES=30 $(BIN)/pytest tests/jobs/kill

test-image: $(READY)
	IMAGE=1 $(BIN)/pytest -rs tests/deploy/test_image.py

# Airflow's packages and ours need not agree, as on a real worker.
AIRFLOW := $(CURDIR)/.cache/airflow
AIRFLOW_ENV = AIRFLOW_HOME=$(AIRFLOW)/home AIRFLOW__CORE__LOAD_EXAMPLES=False \
	AIRFLOW__CORE__DAGS_FOLDER=$(CURDIR)/deploy/airflow PIPELINE_PYTHON=$(CURDIR)/$(BIN)/python
test-deploy: $(READY)
	test -e $(AIRFLOW)/bin/airflow || ($(PYTHON) -m venv $(AIRFLOW) && \
		$(AIRFLOW)/bin/python -m pip install -qq 'apache-airflow>=3.2,<4' pytest)
	$(AIRFLOW_ENV) $(AIRFLOW)/bin/airflow db migrate > $(AIRFLOW)/log
	$(AIRFLOW_ENV) $(AIRFLOW)/bin/airflow dags reserialize >> $(AIRFLOW)/log
	$(AIRFLOW_ENV) $(AIRFLOW)/bin/python -m pytest -c /dev/null --rootdir . --noconftest \
		-p no:cacheprovider tests/deploy/airflow/check_dags.py

# Each version has an environment of its own in .cache/zoo, about 1 GB. A run that was stopped goes on.
VERSIONS ?=
test-models: $(READY)
	$(BIN)/python -m tests.zoo --versions $(VERSIONS)

test-flink test-spark: test-%: $(READY)
	$(BIN)/pytest -rs tests/engines/test_job_servers.py -k $*

test-hosts: $(READY)
	HOSTS=1 $(BIN)/pytest -rs tests/engines/test_hosts.py

test-shared-fs: $(READY)
	SHARED_FS=1 $(BIN)/pytest -rs tests/jobs/test_shared_file_systems.py

# Atheris stays out of the lock: only this target needs it, and it has wheels for few systems.
ATHERIS := .cache/atheris
FUZZ_MINUTES ?= 60
test-fuzz: $(READY)
	test -d $(ATHERIS) || $(BIN)/python -m pip install -qq --no-deps --target $(ATHERIS) 'atheris>=3'
	PYTHONPATH=$(ATHERIS) $(BIN)/python -m tests.fuzz --minutes $(FUZZ_MINUTES)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/codespell

picture: $(READY)
	$(BIN)/python -m docs.draw_architecture

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
	$(PYTHON) -m deploy.image.locks

clean:
	rm -rf $(VENV) $(LOWEST) .cache demo-output schedule-demo-output build .coverage*
