"""The script that changes who is in a room in Redis, and publishes the change in the same step."""

from __future__ import annotations

import hashlib
from typing import Final

RENEW: Final = 5.0
"""Seconds between two signs of life of a server."""

LEASE: Final = 14.0
"""Seconds after the last one when a server counts as dead."""

AT_ONCE: Final = 200
"""Tabs that one call removes: Redis does nothing else meanwhile."""

SCRIPT: Final = rb"""
-- KEYS: the beginning of all keys, the stream. ARGV: operation, uid of the server, command that publishes,
-- length of the stream or the channel of the server itself, number of the call, lease and renewal in ms; then the rest.
local P, op, me, mode, lease, renewal = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local count, last = 0, ''

local function publish(room, message)
  local size, at = string.match(message, '^(%d+):()')
  local payload = string.sub(message, at + size)
  count = count + 1
  if mode == 'XADD' then
    local m = string.sub(redis.sha1hex(clock[1] .. '.' .. clock[2] .. '.' .. count .. payload), 1, 16)
    local nsp, name = string.match(room, '^([^,]*),(.*)$')
    last = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'uid', 'emitter', 'nsp', nsp, 'type', '3',
      'data', payload, 'm', m, 'r', name)
  else
    redis.call(mode, string.sub(message, at, at + size - 1), payload)
  end
end

local function ref(room, sid)
  return #sid .. ':' .. sid .. room
end

local function parse(each)
  local size, at = string.match(each, '^(%d+):()')
  return string.sub(each, at + size), string.sub(each, at, at + size - 1)
end

local function read(room, sid)
  local found = redis.call('HGET', P .. ':r:' .. room, 't' .. sid)
  if not found then return nil end
  local owner, grace, away, came, user = string.match(found, '^(%S+) (%d+) (%d+) (%d+) (.*)$')
  return owner, tonumber(grace), tonumber(away), user, tonumber(came)
end

local function write(room, sid, owner, grace, away, user, came)
  local value = string.format('%s %.0f %.0f %.0f ', owner, grace, away, came) .. user
  redis.call('HSET', P .. ':r:' .. room, 't' .. sid, value)
end

local function drop(room, sid, owner, away, user)
  local r = P .. ':r:' .. room
  redis.call('HDEL', r, 't' .. sid)
  redis.call('SREM', P .. ':n:' .. owner, ref(room, sid))
  if away > 0 then redis.call('ZREM', P .. ':away', ref(room, sid)) else redis.call('HINCRBY', r, 'l' .. user, -1) end
  if redis.call('HINCRBY', r, 'n' .. user, -1) <= 0 then
    local message = redis.call('HGET', r, 'd' .. user)
    redis.call('HDEL', r, 'n' .. user, 'l' .. user, 'm' .. user, 'd' .. user, 's' .. user)
    redis.call('ZREM', P .. ':i:' .. room, user)
    if message then publish(room, message) end
  end
end

local function away_until(room, sid, owner, grace, away, user, came, deadline)
  if deadline <= now then return drop(room, sid, owner, away, user) end
  if away == 0 then redis.call('HINCRBY', P .. ':r:' .. room, 'l' .. user, -1) end
  write(room, sid, owner, grace, deadline, user, came)
  redis.call('ZADD', P .. ':away', string.format('%.0f', deadline), ref(room, sid))
end

local function release(uid, renewed, limit)
  local found = redis.call('SPOP', P .. ':n:' .. uid, limit)
  for _, each in ipairs(found) do
    local room, sid = parse(each)
    local owner, grace, away, user, came = read(room, sid)
    if owner == uid and away == 0 then away_until(room, sid, owner, grace, away, user, came, renewed + grace) end
  end
  if #found < limit then
    redis.call('ZREM', P .. ':nodes', uid)
    redis.call('HDEL', P .. ':calls', uid)
  end
  return #found
end

local function alive()
  if redis.call('ZSCORE', P .. ':nodes', me) then return 1 end
  redis.call('ZADD', P .. ':nodes', string.format('%.0f', now + lease), me)
  -- Each life of a server counts its calls from further down: whose last life has ended sees it by any answer.
  redis.call('HSET', P .. ':calls', me, string.format('%.0f', -now))
  return 0
end

local function answer(known, position)
  if mode ~= 'XADD' then redis.call(mode, ARGV[4], ARGV[5]) end
  return {known, position, redis.call('HINCRBY', P .. ':calls', me, 1), now}
end

local room, sid = ARGV[8], ARGV[9]

if op == 'enter' then
  local user, grace, r = ARGV[10], tonumber(ARGV[11]), P .. ':r:' .. room
  local owner, _, away, known, since = read(room, sid)
  local came = tonumber(ARGV[16])
  if owner and owner ~= me and came and came <= since then
    return answer(alive(), last) -- This server was away, and the client has gone on to another one since.
  end
  if owner and known ~= user then
    drop(room, sid, owner, away, known)
    owner = nil
  end
  local left = tonumber(ARGV[15])
  if owner and left > 0 then return answer(alive(), last) end
  if not owner then
    redis.call('HINCRBY', r, 'l' .. user, 1)
    if redis.call('HINCRBY', r, 'n' .. user, 1) == 1 then
      redis.call('HSET', r, 'm' .. user, ARGV[12], 'd' .. user, ARGV[14])
      redis.call('ZADD', P .. ':i:' .. room, 0, user)
      publish(room, ARGV[13])
      redis.call('HSET', r, 's' .. user, string.format('%.0f ', now) .. last)
    end
  elseif away > 0 then
    redis.call('ZREM', P .. ':away', ref(room, sid))
    redis.call('HINCRBY', r, 'l' .. user, 1)
  end
  if owner and owner ~= me then redis.call('SREM', P .. ':n:' .. owner, ref(room, sid)) end
  write(room, sid, me, grace, 0, user, came or now)
  redis.call('SADD', P .. ':n:' .. me, ref(room, sid))
  if left > 0 then away_until(room, sid, me, grace, 0, user, came or now, now + left) end
  return answer(alive(), string.match(redis.call('HGET', r, 's' .. user), ' (.*)$'))
end

if op == 'leave' or op == 'away' then
  local owner, grace, away, user, came = read(room, sid)
  if owner == me then
    if op == 'leave' then
      drop(room, sid, owner, away, user)
    else
      away_until(room, sid, owner, grace, away, user, came, now + tonumber(ARGV[10]))
    end
  end
  return answer(1, last)
end

if op == 'update' then
  local user, r = sid, P .. ':r:' .. room
  if redis.call('HEXISTS', r, 'n' .. user) == 1 then
    redis.call('HSET', r, 'm' .. user, ARGV[10], 'd' .. user, ARGV[12])
    publish(room, ARGV[11])
  end
  return answer(1, last)
end

if op == 'members' then
  local ids = redis.call('ZRANGEBYLEX', P .. ':i:' .. room, ARGV[10], '+', 'LIMIT', 0, ARGV[9])
  local found = {ids}
  for first = 1, #ids, 500 do
    local fields = {}
    for number = first, math.min(first + 499, #ids) do
      local user, at = ids[number], #fields
      fields[at + 1], fields[at + 2], fields[at + 3] = 'm' .. user, 'l' .. user, 's' .. user
    end
    found[#found + 1] = redis.call('HMGET', P .. ':r:' .. room, unpack(fields))
  end
  return found
end

local limit, done = tonumber(ARGV[8]), 0

if op == 'stop' then
  return {release(me, now, limit)}
end

if op == 'mine' then
  return redis.call('SSCAN', P .. ':n:' .. me, ARGV[9], 'COUNT', limit)
end

if op == 'sweep' then
  local mine = redis.call('ZSCORE', P .. ':nodes', me)
  local known = alive()
  local calls = tonumber(redis.call('HGET', P .. ':calls', me) or 0)
  if mine and tonumber(mine) < now then
    -- This server lives, so Redis has stood still, and the others may live as well.
    for _, uid in ipairs(redis.call('ZRANGEBYSCORE', P .. ':nodes', '-inf', now)) do
      redis.call('ZADD', P .. ':nodes', string.format('%.0f', now + 2 * renewal), uid)
    end
    redis.call('ZADD', P .. ':nodes', string.format('%.0f', now + lease), me)
    return {known, 0, renewal, calls}
  end
  redis.call('ZADD', P .. ':nodes', string.format('%.0f', now + lease), me)
  local late = redis.call('ZRANGEBYSCORE', P .. ':away', '-inf', now, 'LIMIT', 0, limit)
  for _, each in ipairs(late) do
    local room, sid = parse(each)
    local owner, _, away, user = read(room, sid)
    if owner and away > 0 and away <= now then
      drop(room, sid, owner, away, user)
    else
      redis.call('ZREM', P .. ':away', each)
    end
  end
  done = #late
  local dead = redis.call('ZRANGEBYSCORE', P .. ':nodes', '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
  if dead[1] and done < limit then done = limit - 1 + release(dead[1], dead[2] - lease + renewal, limit) end
  local soonest = now + renewal
  for _, key in ipairs({':away', ':nodes'}) do
    local first = redis.call('ZRANGE', P .. key, 0, 0, 'WITHSCORES')
    if first[2] and tonumber(first[2]) < soonest then soonest = tonumber(first[2]) end
  end
  return {known, done >= limit and 1 or 0, math.max(0, soonest - now), calls}
end

return redis.error_reply('ERR unknown operation')
"""

SHA: Final = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()
