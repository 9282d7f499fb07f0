-- The records of given ids that exist. ARGV: tag, agent, ids. Returns them packed.

local log, ids = ARGV[1] .. ':log:' .. ARGV[2], ARGV[1] .. ':ids:' .. ARGV[2]
local add, packed = packing()
for i = 3, #ARGV do
    local sequence = redis.call('HGET', ids, ARGV[i])
    local entry = sequence and redis.call('XRANGE', log, '0-' .. sequence, '0-' .. sequence)[1]
    if entry then add(sequence, entry[2]) end
end
local described, bodies = packed()
return {described, bodies}
