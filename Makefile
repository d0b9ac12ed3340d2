# The targets that people and continuous integration share. `make demo` and `make test` need nothing set up before.
.PHONY: setup setup-test setup-train demo serve test test-faults test-faults-short bench lint format clean
.DEFAULT_GOAL := help

VENV := .venv/bin

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make the environment (.venv), installing what is missing
	@scripts/setup.sh run

setup-test: ## The same, with the peers that tests talk to (DCMTK, Orthanc, nginx, dicom3tools)
	@scripts/setup.sh test

setup-train: ## The same, with PyTorch: to train models, and for `make test` to test that too (a large download)
	@scripts/setup.sh train

demo: setup ## Convert, store, send and view a real slide, and show what happened
	@$(VENV)/python scripts/demo.py

serve: setup ## Run the service on 127.0.0.1 with its data in ./data
	@$(VENV)/dicomsvc serve

test: setup-test lint ## Run all tests but those of faults and the slow ones
	@$(VENV)/python -m pytest -m "not slow" --ignore=tests/faults -n auto --maxprocesses=4 --dist=loadfile

test-faults: setup-test ## Crashes, full disks, hostile peers against the running service: about an hour
	@DICOMSVC_KILL_ROUNDS=25 DICOMSVC_MUTATED_STREAMS=10000 $(VENV)/python -m pytest tests/faults

test-faults-short: setup-test ## The same once through, without what takes long: minutes
	@$(VENV)/python -m pytest -m "not slow" tests/faults

bench: setup-test ## Speed beside peers, measured in the same run
	@for name in conversion cstore stow frames metadata qido; do \
		echo "== $$name"; $(VENV)/python -m benchmarks.$$name || exit 1; done

lint: setup ## Style, types, layers
	@$(VENV)/ruff check . && $(VENV)/ruff format --check . && $(VENV)/mypy && $(VENV)/lint-imports --no-cache >/dev/null \
		|| { $(VENV)/lint-imports --no-cache; exit 1; }

format: setup ## Format the code
	@$(VENV)/ruff check --fix . && $(VENV)/ruff format .

clean: ## Remove what the demo leaves
	@rm -rf demo
