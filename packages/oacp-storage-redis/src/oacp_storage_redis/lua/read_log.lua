-- A page of a log. ARGV: tag, agent, exclusive bounds low and high ("" for none), "1" for reverse, limit, max_bytes.
-- Returns the head, the bound to go on from or "", and the records packed.

local tag, agent, low, high = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local reverse, limit, max_bytes = ARGV[5] == '1', tonumber(ARGV[6]), tonumber(ARGV[7])
local head = redis.call('HGET', tag .. ':heads', agent)
    or redis.call('HGET', tag .. ':tombstones', redis.sha1hex(agent)) or '0'
local add, packed = packing()
local more
if limit > 0 then
    more = walk(tag .. ':log:' .. agent, low, high, reverse, max_bytes, function(sequence, fields)
        return add(sequence, fields) >= limit
    end)
end
local described, bodies = packed()
return {head, more or '', described, bodies}
