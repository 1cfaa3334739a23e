"""What rtframework costs next to its peers: ``make bench``, or ``python -m benchmarks``. See README.md."""
