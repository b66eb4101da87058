# make train   train on the sample in data/ and print the model;  make train ARGS="--solver gd" passes flags on
# make test    the test suite, in two processes with a Spark session each
# make test-extras   the tests that start clusters, other JVMs and benchmarks, and the other half of the largest laws
# make soak    executors killed thirty times in fits on a cluster of processes, for some minutes
# make check   ruff and mypy
# make bench   sparkdml against its peers, for hours;  make bench ARGS=--quick takes some minutes
# make setup   the environment alone;  make clean removes it and everything else that was made
#
# Each makes .venv first where it is missing or older than pyproject.toml and requirements.lock. All paths are
# relative, so the checkout may lie below a directory with a space in its name.

PYTHON ?= python3
ARGS ?=
RUN := .venv/bin/python -m

# The Spark and the Python of .venv; those of another installation would be of another version.
unexport SPARK_HOME PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON

.PHONY: setup train test test-extras soak check bench clean python java

setup: .venv/.installed

train: java .venv/.installed
	@PATH="$$PWD/.venv/bin:$$PATH" \
	SPARK_SUBMIT_OPTS="$${SPARK_SUBMIT_OPTS--Dlog4j2.configurationFile=sparkdml/jobkit/log4j2.properties}" \
	spark-submit jobs/train_linreg.py $(ARGS)

test: java .venv/.installed
	OPENBLAS_NUM_THREADS=1 $(RUN) pytest -n 2 --dist loadfile $(ARGS)

test-extras: java .venv/.installed
	OPENBLAS_NUM_THREADS=1 $(RUN) pytest -m extras $(ARGS)

soak: java .venv/.installed
	OPENBLAS_NUM_THREADS=1 $(RUN) pytest -m soak $(ARGS)

check: .venv/.installed
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

bench: java .venv/.installed
	.venv/bin/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[bench]'
	.venv/bin/python benchmarks/bench.py $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache spark-warehouse
	find sparkdml jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml requirements.lock | python
	test -x .venv/bin/pip || "$(PYTHON)" -m venv --clear .venv
	$(RUN) pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	touch .venv/.installed

python:
	@command -v "$(PYTHON)" > /dev/null || { echo "sparkdml needs Python 3.11 or newer, and there is no $(PYTHON):" \
	"install it, or name one with make PYTHON=/path/to/python3." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("sparkdml needs Python 3.11 or newer, and $(PYTHON) is "\
	+ sys.version.split()[0] + ": install it, or name one with make PYTHON=/path/to/python3.")'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { echo "$(PYTHON) cannot make virtual environments:" \
	"install its venv module (on Debian and Ubuntu the package python3-venv)." >&2; exit 1; }

java: python
	@"$(PYTHON)" -P sparkdml/jobkit/java.py
