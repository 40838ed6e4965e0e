# Set-up and checks from a bare clone: `make demo` and `make test` need Python 3.11 or newer, make, and nothing else.
#   make demo PYTHON=python3.12     another Python for the virtual environment
#   make test ARGS="-k wer -x"      more arguments for pytest
#   make test JOBS=4                in four processes; 0: in this one, for a debugger

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
JOBS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test install lint typecheck docs schema clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       set up, then make a talking-head clip and turn it into words"
	@echo "make test       set up, then run the whole test suite, in two processes"
	@echo "make install    set up only: virtual environment $(VENV), packages, avsr itself"
	@echo "make lint       ruff: rules and formatting"
	@echo "make typecheck  mypy"
	@echo "make docs       the documentation as a site, in build/site"
	@echo "make schema     the JSON Schema of transcripts, after a change of avsr/transcribing/schema.py"
	@echo "make clean      remove $(VENV) and what builds leave behind"

demo: $(STAMP)
	$(BIN)/avsr demo

test: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(STAMP)
	$(BIN)/mypy -p avsr

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

schema: $(STAMP)
	$(BIN)/python -c "from avsr.transcribing import schema as s; s.SCHEMA_FILE.write_text(s.rendered())"

install: $(STAMP)

# One line about a Python that will not do. Must be understood by every Python, hence no modern syntax.
define CHECK_PYTHON
import sys
if sys.version_info < (3, 11):
    sys.exit("error: avsr needs Python 3.11 or newer and $(PYTHON) is " + sys.version.split()[0] + ": name another, for example make $(MAKECMDGOALS) PYTHON=python3.12")
try:
    import ensurepip, venv
except ImportError:
    sys.exit("error: $(PYTHON) cannot make virtual environments: install its venv package (Debian: apt-get install python3-venv)")
endef
export CHECK_PYTHON

# An environment that is there, works and is new enough is kept; the stamp comes last, so a broken install is repeated.
$(STAMP): pyproject.toml setup.cfg constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "error: no program $(PYTHON): install Python 3.11 or newer, or name it with PYTHON=..." >&2; exit 1; }
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
		|| { $(PYTHON) -c "$$CHECK_PYTHON" && $(PYTHON) -m venv --clear "$(VENV)"; }
	@echo "installing into $(VENV): some minutes the first time, PyTorch is large"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt \
		--config-settings editable_mode=compat --editable ".[dev]"
	@touch $@

clean:
	rm -rf "$(VENV)" build dist avsr.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
