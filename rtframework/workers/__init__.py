"""Several processes that serve one port, and are one server."""
