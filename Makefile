# Two commands do everything: `make run` and `make test`. Each sets up .venv by itself, once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ARGS ?=
TESTS ?= tests
BENCH ?= full
# Run a second time without kernels, because there the switch changes the code that is tested: the engine and its step (blocks, totals, index), the index of ids, the
# totals, the lines that a transform reads, and outcomes by hand. All other tests of a kernel have its counterpart as a parameter, or call it themselves.
TESTS_OF_TWINS := $(addprefix tests/property/,test_dedup_index_property.py test_engine_against_reference.py test_high_water_marks_property.py test_totals.py \
	test_transformed_records.py) $(wildcard tests/unit/test_dedup_*.py) tests/unit/test_id_columns.py tests/unit/test_jsonl_format.py

.PHONY: run test crash sanitize wheel wheels bench lint types format lock clean

run: .venv/run-ready  ## the main job on the sample log; ARGS=--once ends at the log's end
	@$(BIN)/event-processor run $(ARGS)

# Airflow runs a DAG of an example. A machine without it skips that test; with CI=true it is installed.
AIRFLOW := $(if $(filter true,$(CI)),.venv-airflow/ready)

test: .venv/test-ready $(AIRFLOW) lint types  ## lint, types and every test; TESTS=tests/unit/test_clock.py: that file alone
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS)
ifeq ($(TESTS),tests)
	@EVENT_PROCESSOR_NATIVE=off $(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS_OF_TWINS)
endif

crash: .venv/test-ready  ## the crash tests alone: what was killed and failed, and how often
	@$(BIN)/python -m pytest -p no:xdist -s -m crash tests

sanitize: .venv/test-ready  ## the kernels' tests under sanitizers, after a change of C; a test compares the hash that it writes
	@$(BIN)/python tools/sanitize.py

wheel: .venv/test-ready  ## a wheel for this machine, into dist/
	@$(BIN)/python tools/make_wheels.py

wheels: .venv-wheels/ready  ## wheels for x86-64 and aarch64, glibc and musl, into dist/
	@.venv-wheels/bin/python tools/make_wheels.py --all

bench: .venv/test-ready .venv-bench/ready .venv-bench/bin/benthos .venv-bench/bin/otelcol  ## the benchmarks, into docs/; BENCH=quick is rough, BENCH=all has the hundred million ids
	@$(BIN)/python -m benchmarks measure --plan $(BENCH)

lint: .venv/test-ready
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .

types: .venv/test-ready
	@$(BIN)/mypy --no-error-summary

format: .venv/test-ready
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

# Done by hand when pyproject.toml's dependencies change; needs uv. The sample serves HTTP, so `make run` needs that extra.
lock:
	@uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --extra http pyproject.toml -o requirements/run.lock
	@uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --all-extras pyproject.toml requirements/dev.in -c requirements/run.lock -o requirements/dev.lock
	@uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header requirements/bench.in -c requirements/dev.lock -o requirements/bench.lock
	@uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header requirements/wheels.in -c requirements/dev.lock -o requirements/wheels.lock
	@uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header requirements/airflow.in -o requirements/airflow.lock

# Where there is no C compiler, the kernels are left out, and numpy does their work.
.venv/run-ready: requirements/run.lock pyproject.toml setup.py $(wildcard event_processor/kernels/c/*.[ch])
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m compileall -q event_processor
	@touch $@

.venv/test-ready: .venv/run-ready requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

# Zig compiles for other machines and other libraries of C.
.venv-wheels/ready: requirements/wheels.lock
	@test -x .venv-wheels/bin/python || $(PYTHON) -m venv .venv-wheels
	@.venv-wheels/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/wheels.lock
	@touch $@

# What the daemon is compared with, in an environment of its own.
.venv-bench/ready: requirements/bench.lock
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@echo '*' > .venv-bench/.gitignore
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.lock
	@touch $@

# Airflow, in an environment of its own: its packages are not ours.
.venv-airflow/ready: requirements/airflow.lock
	@test -x .venv-airflow/bin/python || $(PYTHON) -m venv .venv-airflow
	@echo '*' > .venv-airflow/.gitignore
	@.venv-airflow/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/airflow.lock
	@touch $@

# Where there is no Go, or one cannot be built, this peer has no figure, and the report says so.
.venv-bench/bin/benthos .venv-bench/bin/otelcol: .venv-bench/bin/%: benchmarks/peers/%/main.go benchmarks/peers/%/go.sum .venv-bench/ready
	@! command -v go >/dev/null || (cd benchmarks/peers/$* && go build -o ../../../$@ .) || true

clean:
	@rm -rf .venv .venv-airflow .venv-bench .venv-wheels build dist *.egg-info event_processor/kernels/*.so .mypy_cache .ruff_cache
