"""Handling of events: handlers, their arguments and results, middleware, and the registry of listeners."""
