-- Marks a namespace with the schema version unless it is marked. KEYS: the mark. ARGV: schema version.
-- Returns the version that it has.

local found = redis.call('GET', KEYS[1])
if not found then redis.call('SET', KEYS[1], ARGV[1]) end
return found or ARGV[1]
