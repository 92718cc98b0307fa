# The whole interface: each target works by itself in a fresh clone.
.PHONY: setup demo test lint clean
PYTHON ?= python3

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt deploy/setup.sh deploy/torchaudio_cpu/install.py
	PYTHON=$(PYTHON) bash deploy/setup.sh

demo: setup
	.venv/bin/silver demo

test: setup
	bash deploy/browser.sh
	.venv/bin/python -m pytest

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache demo
