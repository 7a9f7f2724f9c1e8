# The only way in: each target does its own set-up, inside this folder.
.DEFAULT_GOAL := help
.PHONY: help run serve test bench bench-engine bench-models bench-package faults fuzz mutations test-cad

PYTHON := .venv/bin/python
# By the environment, so that a path may hold any character.
export MODEL
# How many models meet the faults.
N := 200

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

run: ## convert one model end to end and print its manifest; MODEL=path for a model of your own
	@sh local/setup.sh run
	@exec $(PYTHON) -m local.run convert "$$MODEL"

serve: ## keep the app and its storage up until Ctrl-C; addresses in .local/endpoints.json
	@sh local/setup.sh run
	@exec $(PYTHON) -m local.run serve

test: ## lint, types, and every test
	@sh local/setup.sh test
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest --numprocesses auto --dist loadfile

bench: ## measurements, each against a peer in the same run; ONLY=tick for one of them
	@sh local/setup.sh test
	@$(PYTHON) -m bench $(ONLY)

bench-engine: ## the engine against its peers; MODELS=folder for models of your own
	@sh local/setup.sh test
	@cd bench && npm ci --no-audit --no-fund --silent
	@$(PYTHON) -m bench.engine $(MODELS)

faults: ## duplicates, deaths, lost replies, outages; N=2000 models for the long run (200)
	@sh local/setup.sh test
	N=$(N) $(PYTHON) -m pytest tests/faults --numprocesses auto --dist loadfile -rA --timeout 14400

bench-models: ## convert all models of a folder, compare each with another reader; MODELS=folder
	@sh local/setup.sh test
	@cd bench && npm ci --no-audit --no-fund --silent
	@$(PYTHON) -m bench.models $(MODELS)

bench-package: ## what the deployed package weighs, and what each library adds
	@sh local/setup.sh test
	@$(PYTHON) -m bench.package_size

fuzz: ## convert 10,000 damaged models; the engine must live through all of them
	@sh local/setup.sh test
	$(PYTHON) -m tests.embedded.engine.fuzz

mutations: ## take out each guard of the promises and show which test goes red; GUARDS="id id" for some
	@sh local/setup.sh test
	@$(PYTHON) -m tests.faults.mutations $(GUARDS)

test-cad: ## install the optional CAD packages, and test STEP and IGES as outputs
	@sh local/setup.sh test
	$(PYTHON) -m pip install -q -r requirements-cad.txt
	$(PYTHON) -m pytest tests/embedded/engine/writers/test_cad.py
