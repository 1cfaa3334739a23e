# Two commands: `make demo` runs the chat, `make test` runs every check. Each first installs what it needs.
#   make demo PORT=9000        another port than 8080
#   make test ARGS="-k rooms"  arguments for pytest
# And one to compare: `make bench` measures what an operation costs here and elsewhere, see benchmarks/README.md.

PY := .venv/bin/python

.PHONY: demo test bench clean

demo:
	@scripts/bootstrap demo
	@$(PY) scripts/port_is_free.py
	@$(PY) -u examples/chat/server.py

test:
	@scripts/bootstrap test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest $(ARGS)

bench:
	@scripts/bootstrap demo
	@$(PY) -m benchmarks $(ARGS)

clean:
	rm -rf .venv tests/js/node_modules benchmarks/.venv benchmarks/node_modules benchmarks/build .pytest_cache .mypy_cache .ruff_cache
