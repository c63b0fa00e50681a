# make help prints this list. Everything that a target needs is installed by it, on a fresh clone too.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EMBEDDED := $(BIN)/python -m pytest_ephemeral_ns.clusters.embedded
PYTEST := $(BIN)/python -m pytest
STAMP := $(VENV)/.stamp

.DEFAULT_GOAL := help
.PHONY: all assets bench clean demo fix help images lint neighbours packages soak test test-packages unit

all: lint test ## everything that CI runs

assets: $(STAMP) ## cluster binaries, helm, kustomize, kind and kubectl, fetched or built once into the cache
	@$(BIN)/python -m pytest_ephemeral_ns.clusters.embedded.assets all

bench: assets images ## what we claim about speed, side by side with what people use today
	@$(BIN)/python -m benchmarks

clean: ## remove the virtual environment and caches of this checkout
	rm -rf $(VENV) $(VENV)-neighbours .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

demo: assets packages images ## the main job: two workers, a namespace each, a real application
	@scripts/demo

fix: $(STAMP) ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

images: assets ## busybox and podinfo as image archives in the cache
	@$(BIN)/python -m pytest_ephemeral_ns.clusters.embedded.images

lint: $(STAMP) ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

packages: ## Debian packages for a node: containerd, runc, CNI plugins, nftables (root on Debian only)
	@scripts/install-node-packages

test-packages: ## Debian packages that only tests use: Chromium, zsh, fish (root on Debian only)
	@scripts/install-test-packages

neighbours: $(VENV)-neighbours/.stamp ## the other plugins that we are tested beside

soak: assets packages images ## what repeats one thing for many minutes: random rollouts, random kills, every ending in every scope
	$(PYTEST) -m soak $(ARGS)

test: lint assets packages test-packages images neighbours ## lint, then unit, plugin and end-to-end tests
	@scripts/run-tests $(BIN)/python $(ARGS)

unit: $(STAMP) ## tests that need no cluster
	$(PYTEST) -m "not cluster and not node and not kind" $(ARGS)

$(STAMP): pyproject.toml
	@scripts/make-venv $(PYTHON) $(VENV) dev
	@touch $@

$(VENV)-neighbours/.stamp: pyproject.toml
	@scripts/make-venv $(PYTHON) $(VENV)-neighbours neighbours
	@touch $@
