-- Deletes an agent with everything of it, and keeps its last sequence under a hash of its name.
--
-- KEYS     the receipt's key, then keys of the same slot
-- ARGV     schema version, seconds to keep the receipt, tag, agent
-- Returns  how many interactions, states and learning documents went
--
-- The work does not grow with the agent: UNLINK takes the keys away at once, and the server frees them beside its
-- other work. What comes first is allowed to a server that is out of memory.

local receipt = redis.call('GET', KEYS[1])
if receipt then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return cjson.decode(receipt)
end
local schema, keep, tag, agent = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local found = redis.call('GET', tag .. ':schema')
if found and found ~= schema then return redis.error_reply('OACPSCHEMA ' .. found) end

local head = redis.call('HGET', tag .. ':heads', agent)
if not head then return {0, 0, 0} end
local log, documents, keys = tag .. ':log:' .. agent, tag .. ':documents:' .. agent, tag .. ':keys:' .. agent
local states = redis.call('HEXISTS', documents, 't')
local result = {redis.call('XLEN', log), states, redis.call('ZCARD', keys)}
redis.call('HDEL', tag .. ':heads', agent)
redis.call('ZREM', tag .. ':agents', agent)
redis.call('UNLINK', log, tag .. ':ids:' .. agent, documents, keys)
if head ~= '0' then redis.call('HSET', tag .. ':tombstones', redis.sha1hex(agent), head) end
redis.call('SET', KEYS[1], cjson.encode(result), 'EX', keep)
return result
