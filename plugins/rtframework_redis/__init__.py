"""Redis for servers that act as one, and for programs that emit to them. Needs the extra ``redis``."""

try:
    import hiredis as _hiredis
    import redis as _redis
except ModuleNotFoundError as error:
    error.add_note("rtframework_redis needs redis and hiredis: pip install 'rtframework[redis]'")
    raise

from .publisher import Publisher, PublisherOperator
from .pubsub import RedisPubSub
from .streams import RedisStreams
from .sync_publisher import SyncPublisher, SyncPublisherOperator

__all__ = [
    "Publisher",
    "PublisherOperator",
    "RedisPubSub",
    "RedisStreams",
    "SyncPublisher",
    "SyncPublisherOperator",
]

del _hiredis, _redis
