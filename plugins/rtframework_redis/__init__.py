"""Connections to Redis for servers that act as one. Needs the extra ``redis``."""

try:
    import hiredis as _hiredis
    import redis as _redis
except ModuleNotFoundError as error:
    error.add_note("rtframework_redis needs redis and hiredis: pip install 'rtframework[redis]'")
    raise

from .pubsub import RedisPubSub
from .streams import RedisStreams

__all__ = ["RedisPubSub", "RedisStreams"]

del _hiredis, _redis
