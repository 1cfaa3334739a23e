"""The Admin UI, piece by piece."""
