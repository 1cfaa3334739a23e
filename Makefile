# Two commands: `make demo` runs the chat, `make test` runs every check. Each first installs what it needs.
#   make demo PORT=9000        another port than 8080
#   make test ARGS="-k rooms"  arguments for pytest; it runs four processes, ARGS="-n 0" does without
# `make docs` builds the documentation site into site/.
# `make faults` lets Redis, networks and servers fail in all ways, and counts what was lost: 10 to 15 minutes.
# And one to compare: `make bench` measures what an operation costs here and elsewhere, see benchmarks/README.md.

PY := .venv/bin/python
# The tests start hundreds of programs, and pytest changes every assertion of the tests: what is compiled is kept, also
# where the environment says otherwise.
WITH_BYTECODE := PYTHONDONTWRITEBYTECODE=
# For two cores: while some workers wait for a timeout, a browser or a broker, two compute. Each costs 8 s of CPU, for it
# collects the tests once more and starts a Chromium and a Node of its own; but with four, a tenth of the time of two cores
# was left (364 s; six take 315).
WORKERS := --numprocesses 6 --dist worksteal

.PHONY: demo test docs faults bench clean

demo:
	@scripts/bootstrap demo
	@$(PY) scripts/port_is_free.py
	@$(PY) -u examples/chat/server.py

test:
	@scripts/bootstrap test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --num-workers 2
	$(WITH_BYTECODE) $(PY) -m pytest $(WORKERS) $(ARGS)

docs:
	@scripts/bootstrap docs
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo site/index.html

faults:
	@scripts/bootstrap test
	@$(PY) -m tests.support.cluster.faults $(ARGS)

bench:
	@scripts/bootstrap demo
	@$(PY) -m benchmarks $(ARGS)

clean:
	rm -rf .venv site tests/js/node_modules benchmarks/.venv benchmarks/node_modules benchmarks/build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
