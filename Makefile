# The front door. `make demo` and `make test` set up what they need.
.PHONY: help setup demo test coverage check format bench prove lock clean
.DEFAULT_GOAL := help
ARGS ?=
BIN := .venv/bin
CORE_TESTS := tests/protocol tests/edge/journal tests/edge/sync tests/cloud

help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: .venv/ready ## the virtual environment, from the hashed lock

.venv/ready: requirements.lock pyproject.toml deploy/setup.sh
	@deploy/setup.sh venv

demo: .venv/ready ## three drop points on simulated devices against a real cloud; ARGS="--headless --seconds 60 --outage"
	@deploy/setup.sh broker
	@$(BIN)/reloop-demo $(ARGS)

test: .venv/ready ## every test, on every core; ARGS="-k journal" for some, ARGS="-n 0" one after the other
	@deploy/setup.sh programs
	@$(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder $(ARGS)

coverage: .venv/ready ## every branch of the core is executed: protocol, journal, sync, ingest, ledger
	@deploy/setup.sh programs
	@mkdir -p artifacts/coverage
	@$(BIN)/coverage run -m pytest -q $(CORE_TESTS) $(ARGS)
	@$(BIN)/coverage report

check: .venv/ready ## lint, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/ready ## let ruff lay out the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/ready ## figures as ratios against limits measured in the same run; ARGS="append drain"
	@deploy/setup.sh programs
	@$(BIN)/python -m tests.bench $(ARGS)

prove: .venv/ready ## try to lose, double or forge a weighing; ARGS="R5 --depth deep" or ARGS=--help
	@deploy/setup.sh programs
	@$(BIN)/python -m tests.proof $(ARGS)

lock: .venv/ready ## resolve requirements.lock anew from pyproject.toml (needs uv)
	@uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --quiet -o requirements.lock

clean: ## remove what setup and tests made
	@rm -rf .venv artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
