"""Polling, websocket, and the upgrade from one to the other."""
