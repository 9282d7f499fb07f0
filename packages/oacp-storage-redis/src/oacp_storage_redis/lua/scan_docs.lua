-- Documents in the order of their keys. ARGV: hash of documents, sorted set of keys, kind, bounds as of ZRANGEBYLEX,
-- limit, max_bytes. Returns keys and documents in turns; at most limit, and about max_bytes, but at least one.

local documents, keys, kind, limit, max_bytes = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local found, bytes = {}, 0
for _, key in ipairs(redis.call('ZRANGEBYLEX', keys, ARGV[4], ARGV[5], 'LIMIT', 0, limit)) do
    local stored = redis.call('HGET', documents, kind .. key) or ''
    bytes = bytes + #stored
    found[#found + 1] = key
    found[#found + 1] = stored
    if bytes >= max_bytes then break end
end
return found
