"""The history of rooms in Redis: keys, and the two scripts that add to it and read it.

A room's key is a stream with the newest entries of the room, under the ids that they have in the servers' stream; one
more than is shown is kept, as the witness that nothing after it is missing. Redis 6.2 or newer is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from rtframework.cluster.messages import Broadcast, MessageType, target_of
from rtframework.cluster.stream_ids import is_id, parse_id
from rtframework.cluster.streams_wire import Entry, read_message, read_splice
from rtframework.exceptions import DecodeError
from rtframework.types import HistoryEntry, HistoryPage, HistoryQuery, KeptRoom

from .commands import Argument

APPEND: Final = b"""\
local rooms = #KEYS - 1
local first = 2 + 2 * rooms
local is_again = ARGV[#ARGV - 1] == 'a'
local function has(key)
  if is_again then
    for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
      if entry[2][4] == ARGV[first + 9] then
        return true
      end
    end
  end
  return false
end
for room = 1, rooms do
  local key, ttl = KEYS[room + 1], tonumber(ARGV[2 * room + 1])
  local trimmed = redis.pcall('XTRIM', key, 'MAXLEN', ARGV[2 * room])
  if type(trimmed) == 'table' and trimmed.err then
    if string.find(trimmed.err, 'WRONGTYPE', 1, true) then
      redis.call('DEL', key)
    else
      return trimmed
    end
  end
  if ttl > 0 then
    redis.call('PEXPIRE', key, ttl)
  else
    redis.call('PERSIST', key)
  end
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, first))
for room = 1, rooms do
  local key, ttl = KEYS[room + 1], tonumber(ARGV[2 * room + 1])
  if not has(key) then
    local added = redis.pcall('XADD', key, id, 'd', ARGV[first + 7], 'm', ARGV[first + 9])
    if type(added) == 'table' and added.err then
      redis.call('DEL', key)
      redis.call('XADD', key, id, 'd', ARGV[first + 7], 'm', ARGV[first + 9])
    end
  end
  if ttl > 0 then
    redis.call('XTRIM', key, 'MINID', string.format('%.0f', string.match(id, '^%d+') - ttl))
    redis.call('PEXPIRE', key, ttl)
  end
end
return id
"""
"""Adds an entry to the servers' stream and, with the same id, to those of rooms, in one step.

Keys: the servers' stream, then those of rooms. Arguments: the length of the servers' stream, then size and milliseconds
of each room, then the fields of the entry, of which the fourth is ``data`` and the fifth ``m``. What is appended to the
command is one more field: if it is ``a``, the entry was sent before, and a room that has it keeps that one. A key
that is no stream, or has later ids because the servers' stream has begun anew, begins anew, too. What is not allowed
fails before anything was added.
"""

READ: Final = b"""\
local key, after, high, oldest = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1'
local limit, size, ttl, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local function numbers(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end
local function is_later(id, than)
  local ms, sequence = numbers(id)
  local other, others = numbers(than)
  return ms > other or (ms == other and sequence > others)
end
local gap, low, least = 0, nil, 0
if ttl > 0 then
  local now = redis.call('TIME')
  least = now[1] * 1000 + math.floor(now[2] / 1000) - ttl
end
local length = redis.call('XLEN', key)
if length > size then
  local hidden = redis.call('XRANGE', key, '-', '+', 'COUNT', length - size)
  low = hidden[#hidden][1]
end
if after ~= '' then
  if #redis.call('XRANGE', key, after, after) == 0 or (low and is_later(low, after)) then
    gap = 1
  else
    low = after
    local following = redis.call('XRANGE', key, '(' .. after, '+', 'COUNT', 1)
    if #following > 0 and numbers(following[1][1]) < least then
      gap = 1
    end
  end
end
if low and numbers(low) >= least then
  low = '(' .. low
elseif least > 0 then
  low = string.format('%.0f-0', least)
else
  low = '-'
end
local found, bytes, more, command = {}, 0, 0, oldest and 'XRANGE' or 'XREVRANGE'
local from, to = low, high
while more == 0 do
  local count = math.min(limit + 1 - #found, 32)
  local some
  if oldest then
    some = redis.call('XRANGE', key, from, to, 'COUNT', count)
  else
    some = redis.call('XREVRANGE', key, to, from, 'COUNT', count)
  end
  for _, entry in ipairs(some) do
    bytes = bytes + #entry[2][2]
    if #found >= limit or (#found > 0 and bytes > most) then
      more = 1
      break
    end
    found[#found + 1] = entry
  end
  if #some < count then
    break
  end
  if oldest then
    from = '(' .. some[#some][1]
  else
    to = '(' .. some[#some][1]
  end
end
return {gap, more, found}
"""
"""Reads a page. Arguments: the query's ``after``, its last id or ``+``, 1 for the oldest, limit, size, milliseconds,
bytes. The reply: gap, more, and the entries, the oldest or the newest first."""


class RoomKey(NamedTuple):
    """The key of a room's history, the entries that it keeps, and the milliseconds for which, 0 without a limit."""

    key: bytes
    size: int
    ttl: int


def room_key(stream: str, nsp: str, room: KeptRoom) -> RoomKey:
    """Return the key of a room, in the slot of the servers' stream."""
    ttl = 0 if room.ttl is None else max(1, round(room.ttl * 1000))
    return RoomKey(key_of(stream, nsp, room.name), room.size, ttl)


def key_of(stream: str, nsp: str, room: str) -> bytes:
    """Return the name of a room's key."""
    tag = stream if "{" in stream else f"{{{stream}}}"
    return f"sio:h:{tag}:{nsp}#{room}".encode()


def append_command(stream: str, max_len: int, rooms: Sequence[RoomKey], fields: Sequence[Argument]) -> list[Argument]:
    """Make the command that adds an entry, instead of XADD; its reply is the id of the entry, too."""
    command: list[Argument] = ["EVAL", APPEND, 1 + len(rooms), stream, *(room.key for room in rooms), max_len]
    for room in rooms:
        command += room.size, room.ttl
    return [*command, *fields]


def read_command(stream: str, nsp: str, room: KeptRoom, query: HistoryQuery) -> list[Argument] | None:
    """Make the command that reads a page; ``None`` if nothing can be before the id that is asked for."""
    after = query.after or ""
    if after and not is_id(after):
        after = "0-0"  # it is not there: the client is told of a gap
    high = query.upto or "+"
    if query.before is not None:
        if not is_id(query.before):
            return None
        high = f"({query.before}"
    key = room_key(stream, nsp, room)
    oldest = int(query.oldest)
    return ["EVAL", READ, 1, key.key, after, high, oldest, query.limit, key.size, key.ttl, query.max_bytes]


def read_reply(reply: Any, query: HistoryQuery) -> HistoryPage:
    """Read the reply to :func:`read_command`. Entries that nobody has understood are left out."""
    gap, more, found = reply
    entries = []
    for id, fields in found if query.oldest else reversed(found):
        try:
            entries.append(_entry(id.decode(), fields[1]))
        except DecodeError:
            continue  # nobody has got it
    return HistoryPage(tuple(entries), bool(gap), bool(more))


def _entry(id: str, data: bytes) -> HistoryEntry:
    at = parse_id(id)[0]
    splice = read_splice(data)
    text = splice.args() if splice is not None else None
    if splice is not None and text is not None:
        return HistoryEntry(id, at, text=text, except_=frozenset(splice.opts.except_))
    message = read_message(Entry("", "", int(MessageType.BROADCAST), data, None, None, False, None)).data
    if not isinstance(message, Broadcast):
        raise DecodeError("invalid entry of a room's history")
    return HistoryEntry(id, at, data=message.packet.data, except_=target_of(message.opts).except_)
