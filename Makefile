# The only way in: each target does its own set-up, inside this folder.
.DEFAULT_GOAL := help
.PHONY: help run serve test bench bench-engine fuzz test-cad

PYTHON := .venv/bin/python
# By the environment, so that a path may hold any character.
export MODEL

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

fuzz: ## convert 10,000 damaged models; the engine must live through all of them
	@sh local/setup.sh test
	$(PYTHON) -m tests.embedded.engine.fuzz

test-cad: ## install the optional CAD packages, and test STEP and IGES as outputs
	@sh local/setup.sh test
	$(PYTHON) -m pip install -q -r requirements-cad.txt
	$(PYTHON) -m pytest tests/embedded/engine/writers/test_cad.py
