"""Modules that a default install lacks, for ``PYTHONPATH``: importing one fails, as it does there.

They are installed for the tests. python-socketio imports them where it finds them, which takes each program that a test
starts a quarter of its CPU.
"""
