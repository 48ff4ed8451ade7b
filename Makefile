# Builds, runs and tests Noctule in an environment of its own, .venv. `make help` lists what there is.
#
# PYTHON=python3.12 chooses the interpreter; ARGS="--listen 127.0.0.1:1884" is handed to `noctule run`,
# TESTS="tests/e2e -k retained" to pytest. Steps are done again only when what they depend on has changed.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# In CI and elsewhere: no questions, no notices about pip's own version.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(BIN)/python -m pip install --quiet

COMPILED := $(wildcard _speedups/*.pyx _speedups/*.pxd)
CHECK := sh packaging/check-toolchain.sh

# The tests through MQTT.js need node; where it is not there they are skipped. It is installed outside tests/, so that
# neither git nor the source archive sees it.
MQTTJS := build/mqttjs
HAS_MQTTJS := $(if $(shell command -v npm 2>/dev/null),$(MQTTJS)/.installed)

SHELL_SCRIPTS := .ci/run packaging/check-toolchain.sh packaging/debian/build.sh \
	$(addprefix packaging/debian/,postinst postrm prerm) \
	$(addprefix packaging/container/,entrypoint healthcheck mosquitto-command)

.PHONY: help run test packaging conformance fuzz crash lint build dist bench bench-micro instructions test-asan clean FORCE

help:
	@echo 'make run        build what has changed and start the broker (options: make run ARGS="...")'
	@echo 'make test       build and run every test (some of them: make test TESTS="...")'
	@echo 'make packaging  wheel, Debian package and container image: made, installed and used (as root, some minutes)'
	@echo 'make conformance  the tests of the specifications, and a report on every statement'
	@echo 'make fuzz       the fuzzers for some minutes'
	@echo 'make crash      a broker that is killed again and again under load, the long form'
	@echo 'make lint       formatting, style, types, and who may import whom'
	@echo 'make build      build only'
	@echo 'make dist       source archive and wheel, in dist/'
	@echo 'make bench      the benchmarks (within two minutes: make bench QUICK=1; options: make bench ARGS="...")'
	@echo 'make bench-micro  times of single functions'
	@echo 'make instructions  instructions of each kind of work, compared with the baseline'
	@echo 'make test-asan  the tests of the compiled modules under AddressSanitizer and UndefinedBehaviourSanitizer'
	@echo 'make clean      remove everything that was built, .venv too'

run: build
	@exec $(BIN)/noctule run $(ARGS)

# The tests of the specifications run by themselves: the report on every statement needs all of them in one process.
test: build $(VENV)/.has-test $(HAS_MQTTJS)
ifeq ($(strip $(TESTS)),)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --ignore tests/conformance --quiet
	$(BIN)/python -m pytest tests/conformance --quiet
else
	$(BIN)/python -m pytest $(TESTS)
endif

# What takes minutes: `make test` has what can be said of the same files without installing them.
packaging: build $(VENV)/.has-test
	$(BIN)/python -m pytest tests/packaging/installed $(TESTS)

# Every statement of the specifications: covered, not testable from outside, or missing (which fails).
conformance: build $(VENV)/.has-test
	$(BIN)/python -m pytest tests/conformance --conformance-report build/conformance.md
	@echo 'The report: build/conformance.md'

# The long form of the fuzzers; make test runs the short one.
fuzz: build $(VENV)/.has-test
	NOCTULE_FUZZ=long $(BIN)/python -m pytest tests/fuzz --timeout=0 $(TESTS)

# The long form; 'make test' runs the short one.
crash: build $(VENV)/.has-test
	NOCTULE_CRASH=long NOCTULE_KILLS=100 $(BIN)/python -m pytest tests/crash tests/bridges/test_crash.py --timeout=0 $(TESTS)

lint: build $(VENV)/.has-test $(VENV)/.has-lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
	MYPYPATH=.root $(BIN)/python -m mypy.stubtest noctule._speedups --mypy-config-file pyproject.toml \
		--allowlist packaging/stubtest-allowed.txt --ignore-unused-allowlist --ignore-disjoint-bases
	PYTHONPATH=.root $(BIN)/lint-imports
	$(BIN)/shellcheck $(SHELL_SCRIPTS)
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; fi

# QUICK=1 ends within two minutes. Other options, say ARGS="--scenarios core --keep": benchmarks/README.md.
bench: build $(VENV)/.has-bench
	$(BIN)/python benchmarks/run.py $(if $(QUICK),--quick) $(ARGS)

# Times of single functions; ARGS="--benchmark-compare".
bench-micro: build $(VENV)/.has-bench
	$(BIN)/python -m pytest benchmarks/micro $(ARGS)

# Instructions of each kind of work, compared with benchmarks/instructions.json; ARGS=--update makes them the baseline.
instructions: build
	$(BIN)/python benchmarks/instructions.py $(ARGS)

build: $(VENV)/.built

dist: build
	$(PIP) build
	$(BIN)/python -m build --no-isolation --outdir dist

# A copy of the tree with an environment and a build of its own, so that the usual build stays as it is.
# Python itself is not instrumented: the sanitizer's library is loaded before it, and its own allocator is
# left out so that every object is a malloc() that AddressSanitizer sees.
ASAN := build/asan
PARTS := broker _speedups plugins tests benchmarks packaging pyproject.toml setup.py README.md LICENSE Makefile

test-asan:
	@mkdir -p $(ASAN)
	@rm -rf $(addprefix $(ASAN)/,$(PARTS))
	@cp -Rp $(PARTS) $(ASAN)/
	@rm -f $(ASAN)/_speedups/*.so
	@rm -f $(ASAN)/$(VENV)/.built
	NOCTULE_SANITIZE=1 $(MAKE) -C $(ASAN) build $(VENV)/.has-test
	cd $(ASAN) && LD_PRELOAD=$$($${CC:-cc} -print-file-name=libasan.so) PYTHONMALLOC=malloc NOCTULE_FUZZ=sanitizer \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(BIN)/python -m pytest --capture=sys --ignore=tests/e2e -m 'not slow and not leak' $(TESTS)

clean:
	rm -rf $(VENV) .root build dist _speedups/*.so .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find broker _speedups plugins tests benchmarks packaging -name __pycache__ -prune -exec rm -rf {} +

# The environment. Each step leaves a file in $(VENV) that says when it was last done.

$(BIN)/python:
	@python=$$($(CHECK) $(PYTHON)) && $$python -m venv $(VENV)

# The editable install does without build isolation (it would compile everything each time), so what
# building needs is installed first.
$(VENV)/.has-%: pyproject.toml packaging/requirements.py | $(BIN)/python
	@$(BIN)/python packaging/requirements.py $* >$@.txt
	$(PIP) --requirement $@.txt
	@touch $@

$(MQTTJS)/.installed: tests/e2e/mqttjs/package.json
	@mkdir -p $(MQTTJS)
	@cp $< $(MQTTJS)/
	npm install --prefix $(MQTTJS) --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV)/.installed: pyproject.toml broker/_version.py $(VENV)/.has-build-system
	$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.built: $(VENV)/.installed setup.py $(VENV)/.layout $(COMPILED)
	$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

# setup.py links what lies directly in broker/ into .root/noctule, so a new name there is a change too.
$(VENV)/.layout: FORCE | $(BIN)/python
	@echo '$(filter-out broker/__pycache__,$(sort $(wildcard broker/*)))' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
