"""Adapters: the rooms of a namespace, and delivery of packets to them."""

from .ack_collector import AckCollector
from .base import BaseAdapter
from .memory import MemoryAdapter
from .rooms import RoomIndex

__all__ = ["AckCollector", "BaseAdapter", "MemoryAdapter", "RoomIndex"]
