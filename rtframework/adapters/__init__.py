"""Rooms and deliveries: who is where, and who gets what."""

from .ack_collector import AckCollector
from .base import BaseAdapter
from .memory import MemoryAdapter
from .rooms import RoomIndex

__all__ = ["AckCollector", "BaseAdapter", "MemoryAdapter", "RoomIndex"]
