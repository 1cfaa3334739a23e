"""Rooms and deliveries: who is where, and who gets what."""
