# Two commands matter: `make serve` and `make test`. Each does its own set-up in .venv, and installs
# only where .venv does not match pyproject.toml and constraints.txt (so it works offline).
# For GNU make 3.81 (macOS) and any POSIX shell; paths are relative, so the folder may have spaces.

SHELL := /bin/sh
PY := .venv/bin/python
# An interpreter of your choice: make serve PYTHON=/opt/python3.12/bin/python3
PYTHON ?=
# Passed to the program behind the target: make test ARGS="-k rle -x"
ARGS ?=

.PHONY: help serve demo docs test test-slow test-foreign check format sign licences dist sbom fuzz bench bench-stages audit clean venv base dev demo-packages docs-packages bench-packages
.DEFAULT_GOAL := help
# Two installers at once in one .venv would break it.
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

serve: base ## install what is missing, then serve on http://127.0.0.1:8000 (settings: LESION_*)
	@exec $(PY) -m service $(ARGS)

demo: demo-packages ## install what is missing, then start the page on http://127.0.0.1:8501 and the service behind it
	@exec $(PY) -m demo

test: dev ## install what is missing, then run the tests on all cores (some of them: ARGS="-k rle -x")
	@exec env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest $(if $(findstring .py,$(ARGS)),,-n logical --maxprocesses 4 --dist worksteal) $(ARGS)

test-slow: dev ## install what is missing, then run the tests that take minutes
	@exec env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -m slow $(ARGS)

test-foreign: dev ## install what is missing, then run the tests that need other programs (a browser, nginx, Orthanc, Ray)
	@exec env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -m foreign $(ARGS)

check: dev ## lint, formatting and types, as CI checks them
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: docs-packages ## build docs/ as a site in site/, strictly and offline (read and search it: python3 -m http.server -d site)
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet $(ARGS)

licences: dev ## check the licences of all packages that are installed (docs/soup.md lists the service's own)
	$(PY) deploy/licences.py

dist: dev ## build the sdist and the wheel in dist/, the same bits each time
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(PY) -m hatchling build -d dist

sbom: dev ## write dist/sbom-environment.cdx.json, a CycloneDX bill of materials of .venv
	@[ -x .venv/sbom/bin/cyclonedx-py ] || { $(PY) -m venv .venv/sbom && .venv/sbom/bin/pip install -q cyclonedx-bom==7.5.0; }
	@mkdir -p dist
	.venv/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --mc-type application -o dist/sbom-environment.cdx.json $(PY)

fuzz: dev ## send mutated uploads to a service of its own, and print what came (how many: ARGS="--count 1000000")
	@exec $(PY) -m tests.fixtures.service.fuzz $(ARGS)

sign: dev ## sign every version of models/ with a new key, for a release: keys/RELEASE.pub, the private half is lost
	@exec $(PY) -m trainer sign --new-key keys/RELEASE.pub $(ARGS)

format: dev ## format the code and apply the safe lint fixes
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

bench: bench-packages ## install what is missing, then measure the service beside its peers (docs/performance.md)
	@$(PY) -m benchmarks.peers.triton_setup || true
	@exec $(PY) -m benchmarks $(ARGS)

bench-stages: dev ## time each stage of a request (docs/performance.md)
	@exec $(PY) -m benchmarks.stages $(ARGS)

audit: venv ## look every pinned package up in the database of known vulnerabilities (needs the internet)
	@[ -x .venv/audit/bin/pip-audit ] || { $(PY) -m venv .venv/audit && .venv/audit/bin/pip install -q pip-audit==2.10.1; }
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt $(ARGS)

clean: ## remove .venv, builds and caches (runs/ and data/ stay)
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up ------------------------------------------------------------------------------------
# .venv/.incomplete   exists while .venv is being made: an interrupted creation starts again
# .venv/.path         where .venv was made: a moved or copied one does not work
# deploy/install.py has the packages.

# Prints the version of an interpreter; fails where it is missing or too old for this project.
VERSION := import sys; print("%d.%d.%d" % sys.version_info[:3]); sys.exit(sys.version_info < (3, 11))

venv:
	@set -eu; \
	version_of() { "$$1" -c '$(VERSION)' 2>/dev/null; }; \
	if [ -d .venv ]; then \
	    if [ -e .venv/.incomplete ]; then why="its creation was interrupted"; \
	    elif ! has=$$(version_of $(PY)); then why="its Python is gone, or older than 3.11"; \
	    elif ! $(PY) -c 'import pip' 2>/dev/null; then why="it has no pip"; \
	    elif [ -e .venv/.path ] && [ "$$(cat .venv/.path)" != "$$(pwd -P)" ]; then \
	        why="it was made in another folder, $$(cat .venv/.path)"; \
	    elif [ -n "$(PYTHON)" ] && [ "$$(version_of "$(PYTHON)")" != "$$has" ]; then \
	        why="it has Python $$has, and PYTHON=$(PYTHON) is another version"; \
	    else exit 0; fi; \
	    echo "The present .venv cannot be used: $$why."; \
	fi; \
	python=; found=; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.14); do \
	    if version=$$(version_of "$$candidate"); then python=$$candidate; break; fi; \
	    if [ -n "$$version" ]; then found="$$found $$version ($$candidate)"; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "This project needs Python 3.11 or newer; found$${found:- none$(if $(PYTHON), at $(PYTHON))}." >&2; \
	    echo "Install it, or name one: make PYTHON=/path/to/python3.11 ..." >&2; \
	    exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$python ($$version) cannot make virtual environments: its venv module is missing." >&2; \
	    echo "Debian and Ubuntu: apt install python3-venv. Or name another: make PYTHON=/path/to/python3.11 ..." >&2; \
	    exit 1; \
	fi; \
	echo "Making .venv with $$python ($$version)"; \
	rm -rf .venv; \
	mkdir .venv; \
	touch .venv/.incomplete; \
	"$$python" -m venv .venv; \
	pwd -P > .venv/.path; \
	rm .venv/.incomplete

base demo-packages docs-packages dev bench-packages: venv
	@$(PY) deploy/install.py $(@:-packages=)
