# make train, make test: both set up everything they need in .venv first.

ARGS ?=
PYTHON ?= python3
RUN = .venv/bin/python -m

.DEFAULT_GOAL := help
.PHONY: help train cifar10 test lint tables clean

help: ## what can be made
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo '  ARGS="loss=bce seed=1" passes overrides to train and cifar10, or arguments to test'

train: .venv/ready ## train on drawn shapes with labels, on any CPU in minutes, score it, and say where to look
	$(RUN) sngan train experiment=shapes_conditional $(ARGS)

cifar10: .venv/ready ## the paper's CIFAR-10 ResNet (downloads CIFAR-10 and the Inception weights; wants a GPU)
	$(RUN) sngan train experiment=cifar10_resnet data.download=true $(ARGS)

test: .venv/ready ## run the whole test suite, in several processes of one thread each
	OMP_NUM_THREADS=1 $(RUN) pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

lint: .venv/ready ## check style and types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

tables: .venv/ready ## fill the tables of README.md from scripts/results
	.venv/bin/python scripts/readme_tables.py

clean: ## remove what was installed; runs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

# uv where there is one, else venv and pip; the stamp is newer than what it was made from
.venv/ready: pyproject.toml
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python '>=3.11,<3.15' .venv && uv pip install --quiet --python .venv/bin/python -e '.[dev]'; \
	else \
		$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 15) else f"sngan needs Python 3.11 to 3.14, {sys.executable} is {v[0]}.{v[1]}; name another: make PYTHON=python3.12 …")' && \
		$(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@
