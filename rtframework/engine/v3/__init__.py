"""Clients of Socket.IO 2, which speak Engine.IO 3."""
