"""Gateways, piece by piece."""
