"""The command line: ``rtframework`` and ``python -m rtframework``.

A subcommand is a module of this package with a function ``add_arguments(parser)`` and a function ``run(args)`` that
returns an exit code, and a line in ``COMMANDS`` of ``main.py``.
"""
