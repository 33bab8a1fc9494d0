package redisstore

import "github.com/redis/go-redis/v9"

// The outcomes of a script.
const (
	done    = 0
	absent  = 1
	exists  = 2
	changed = 3
)

// Each script touches only the key it is given, and either does all of its work or changes nothing.
// go-redis sends a command again when the reply was lost, so a script that finds its work already
// done returns 0 (done). SET .. IFEQ and SET .. NX GET would replace two scripts, but need Redis
// 8.4 and 7.0.
var (
	// createScript: value, ttl in ms.
	createScript = redis.NewScript(`
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] then return 2 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0`)

	// swapScript: old, value, ttl in ms.
	//
	// A full Redis takes it where the value hardly grows, so that the use of sessions is noted and
	// the new tokens of those that are refreshed are saved: it refuses only the first write of a
	// script, and never PEXPIREAT.
	swapScript = redis.NewScript(`
local there = redis.call('GET', KEYS[1])
if not there then return 1 end
if there ~= ARGV[1] and there ~= ARGV[2] then return 3 end
if #ARGV[2] <= #there + 1024 then
	local t = redis.call('TIME')
	local now = t[1] * 1000 + math.floor(t[2] / 1000)
	redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + ARGV[3]))
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 0`)

	// deleteScript: old.
	deleteScript = redis.NewScript(`
local there = redis.call('GET', KEYS[1])
if not there then return 0 end
if there ~= ARGV[1] then return 3 end
redis.call('DEL', KEYS[1])
return 0`)

	// addScript: member, ttl in ms. As with a key, a member still exists in the millisecond that
	// equals its score, and has expired when the clock is past it.
	//
	// ZADD is the first write, because a full Redis refuses only the first write of a script. All
	// reads come before it. If PEXPIREAT is refused, because the Redis user lacks that right, the
	// script removes the member again, so that no set lives forever.
	addScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local expires = now + ARGV[2]
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
local ends = math.max(expires, tonumber(last[2] or 0))
redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', expires), ARGV[1])
local reply = redis.pcall('PEXPIREAT', KEYS[1], string.format('%.0f', ends))
if type(reply) == 'table' then
	redis.call('ZREM', KEYS[1], ARGV[1])
	return reply
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now))
return 0`)

	// membersScript only reads, so that it also works when Redis refuses writes.
	membersScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now), '+inf')`)
)
