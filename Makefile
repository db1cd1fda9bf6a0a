# Everything a fresh machine with Python and make needs: `make run` starts taskd, `make test` tests it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST_ARGS ?=
# Most tests wait for processes: twice as many as cores, and who is done takes over from who isn't.
PYTEST := $(BIN)/python -m pytest --numprocesses $(shell echo $$((2 * $$(nproc)))) --dist worksteal
BENCH_ARGS ?=
PEERS := $(VENV)-peers

.PHONY: help run test quick bench check docs format lock schema clean
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: $(INSTALLED) ## set up, then run the daemon, a worker and the example schedules on embedded defaults
	@$(BIN)/taskd dev

test: $(INSTALLED) ## set up, then run every test; services that are not there are skipped (unless CI is set)
	@$(PYTEST) $(PYTEST_ARGS)

quick: $(INSTALLED) ## the tests that take seconds
	@$(PYTEST) -m "not slow" tests/unit tests/store $(PYTEST_ARGS)

bench: $(INSTALLED) ## measure herds and recording beside others, and a day of runs: needs PostgreSQL, Redis and RabbitMQ; takes an hour
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check 'celery[redis]' django-celery-beat \
		sqlalchemy-celery-beat celery-redbeat 'apscheduler<4' matplotlib django-celery-results 'psycopg[binary]'
	@$(BIN)/python bench/recording.py --peers $(PEERS)/bin/python
	@$(BIN)/python bench/history.py
	@$(BIN)/python bench/herd.py --peers $(PEERS)/bin/python $(BENCH_ARGS)

check: $(INSTALLED) ## lint, format, strict types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

docs: $(INSTALLED) ## build the documentation into site/, without a warning
	@$(BIN)/mkdocs build --quiet --strict

format: $(INSTALLED) ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(INSTALLED) ## resolve requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
		--custom-compile-command "make lock" --extra postgresql --extra mariadb --extra gevent --group dev \
		pyproject.toml -o requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "taskd needs Python 3.11 or newer and %s is %d.%d: name another with make PYTHON=python3.12" % (sys.executable, v[0], v[1]) or 0)'
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

schema: $(INSTALLED) ## bring schedule.schema.json up to what the model of a schedule says
	@$(BIN)/taskd schema > schedule.schema.json

clean: ## forget the virtual environment, caches and the development state folder
	@rm -rf $(VENV) $(PEERS) .taskd .mypy_cache .ruff_cache .pytest_cache .hypothesis
