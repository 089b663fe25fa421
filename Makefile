# Every command of the README is a target here, and .ci/run calls them.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: install demo test check format lint types imports bench lock clean

install: .venv/.installed  ## put postil into .venv/bin

# Hashes only: where packages come from is the user's own pip configuration.
.venv/.installed: requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Postil needs Python 3.11 or newer: make PYTHON=python3.11 install")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

demo: install  ## a signed webhook becomes a posted review, on loopback; KEEP=1 keeps serving the page
	@$(BIN)/python -m sandbox.demo $(if $(KEEP),--keep)

test: install  ## the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST)

check: install format lint types imports test  ## everything CI asks

format:
	$(BIN)/ruff format --check .

lint:
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

bench: install  ## what the README's performance table is made from
	$(BIN)/python -m bench

lock:  ## pin again after a change of pyproject.toml; needs uv
	uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements.lock
	uv pip compile pyproject.toml --extra local --extra dev --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements-dev.lock

clean:
	rm -rf .venv dist artifacts postil-data
