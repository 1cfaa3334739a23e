"""Connections to Redis for servers that act as one. Needs the extra ``redis``."""

try:
    import hiredis as _hiredis
    import redis as _redis
except ModuleNotFoundError as error:
    error.add_note("rtframework_redis needs redis and hiredis: pip install 'rtframework[redis]'")
    raise

__all__: list[str] = []

del _hiredis, _redis
