# Two commands on a fresh machine with Python 3.10 or newer:  make demo   make test
#
#   make demo                                   the bundled example
#   make demo FIXED=a.nii.gz MOVING=b.nii.gz    your own two brains
#   make test | make lint | make format | make clean
#
# Settings: JOBS (processes of the tests), PYTHON (the interpreter that makes the environment), VENV (where it goes), OUTPUT (where the demo
# writes), PIP_ARGS. On Linux the registry's torch carries CUDA; without a GPU save the download with
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON = python3
VENV = .venv
OUTPUT = demo-output
FIXED =
MOVING =
PIP_ARGS =
PYTEST_ARGS =
JOBS = 2

BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS)
DEMO_READY = $(VENV)/demo-ready
TEST_READY = $(VENV)/test-ready

help:
	@echo "make demo   register the bundled example, or FIXED=... MOVING=..., into $(OUTPUT)/"
	@echo "make test   run the tests"
	@echo "make lint   check style and types"
	@echo "make format bring the code into style"
	@echo "make clean  remove $(VENV)"

demo: $(DEMO_READY)
	@if [ -n "$(FIXED)" ] && [ -n "$(MOVING)" ]; then \
		$(BIN)/mmln register "$(FIXED)" "$(MOVING)" --output "$(OUTPUT)" --overwrite; \
	elif [ -n "$(FIXED)$(MOVING)" ]; then \
		echo "Give both files: make demo FIXED=a.nii.gz MOVING=b.nii.gz" >&2; exit 2; \
	else \
		$(BIN)/mmln demo --output "$(OUTPUT)" --overwrite; \
	fi
	@echo "The results lie in $(OUTPUT)/; open $(OUTPUT)/report.html in a browser, or $(OUTPUT)/scene.mrb in 3D Slicer."

test: $(TEST_READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(PYTEST_ARGS)

lint: $(TEST_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(TEST_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf "$(VENV)"

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "Python 3.10 or newer is needed; name one with PYTHON=..., such as make demo PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv "$(VENV)" || { rm -f "$@"; exit 1; }

$(DEMO_READY): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	@echo "Installing into $(VENV); the first time this takes some minutes."
	$(INSTALL) --editable '.[slicer,brain,demo]'
	@touch $@

$(TEST_READY): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	@echo "Installing into $(VENV); the first time this takes some minutes."
	$(INSTALL) --editable '.[slicer,brain,demo,dask,server,dev]'
	@touch $@

.PHONY: help demo test lint format clean
