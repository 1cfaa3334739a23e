"""Namespaces: who is let in, what becomes of an event, whom to emit to."""
