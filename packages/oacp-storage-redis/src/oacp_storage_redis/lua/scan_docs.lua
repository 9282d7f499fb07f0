-- Documents in the order of their keys. ARGV: hash of documents, sorted set of keys, kind, bounds as of ZRANGEBYLEX,
-- limit, max_bytes. Returns for each its key, what describes it, and its body; at most limit, and about max_bytes, but
-- at least one.

local documents, keys, kind, limit, max_bytes = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local found, bytes = {}, 0
for _, key in ipairs(redis.call('ZRANGEBYLEX', keys, ARGV[4], ARGV[5], 'LIMIT', 0, limit)) do
    local field = kind .. key
    local stored = redis.call('HMGET', documents, 'v' .. field, field)
    local body = stored[2] or ''
    bytes = bytes + #body
    local n = #found
    found[n + 1], found[n + 2], found[n + 3] = key, stored[1] or '', body
    if bytes >= max_bytes then break end
end
return found
