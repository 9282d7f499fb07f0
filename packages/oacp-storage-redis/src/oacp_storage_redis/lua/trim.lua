-- One step of retention in one agent's log.
--
-- KEYS     the receipt's key, then keys of the same slot
-- ARGV     schema version, seconds to keep the receipt, tag, agent, "1" to count only, sequence to begin after,
--          how many existing entries up to there, time before which entries go or "", how many of the newest stay
--          or "", how many may go at most, max_bytes to look at, "walk" or "ids"; then ids: with "ids" they are looked
--          up, with "walk" they limit what goes
-- Returns  how many went, the sequence to go on after or "", how many existing entries up to there

local receipt = redis.call('GET', KEYS[1])
if receipt then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return cjson.decode(receipt)
end
local schema, keep_receipt, tag, agent, counting = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'
local after, kept, before, keep = ARGV[6], tonumber(ARGV[7]), ARGV[8], ARGV[9]
local limit, max_bytes, way = tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12]
local found = redis.call('GET', tag .. ':schema')
if found and found ~= schema then return redis.error_reply('OACPSCHEMA ' .. found) end

local log, ids = tag .. ':log:' .. agent, tag .. ':ids:' .. agent

-- Times are signed decimal text; as doubles they are exact for 285 years around 1970.
local function is_before(at)
    return before == '' or (tonumber(at) or 0) < tonumber(before)
end

local gone, gone_ids = {}, {}
local next_after = ''
if way == 'ids' then
    local seen = {}
    for i = 13, #ARGV do
        local sequence = redis.call('HGET', ids, ARGV[i])
        local entry = sequence and redis.call('XRANGE', log, '0-' .. sequence, '0-' .. sequence)[1]
        if entry and not seen[sequence] and is_before(entry[2][4]) then
            seen[sequence] = true
            gone[#gone + 1] = '0-' .. sequence
            gone_ids[#gone_ids + 1] = ARGV[i]
        end
    end
else
    local wanted = #ARGV > 12 and {} or nil
    for i = 13, #ARGV do wanted[ARGV[i]] = true end
    local last = keep ~= '' and redis.call('XLEN', log) - tonumber(keep) or math.huge
    if kept < last then
        local ended
        next_after = walk(log, after, '', false, max_bytes, function(sequence, fields)
            if kept + #gone >= last then
                ended = true
                return true
            end
            if is_before(fields[4]) and (not wanted or wanted[fields[2]]) then
                gone[#gone + 1] = '0-' .. sequence
                gone_ids[#gone_ids + 1] = fields[2] or ''
            else
                kept = kept + 1
            end
            return #gone >= limit
        end)
        if ended or not next_after then next_after = '' end
    end
end

local result = {#gone, next_after, counting and kept + #gone or kept}
if not counting and #gone > 0 then
    for i = 1, #gone, 1000 do
        local last = math.min(i + 999, #gone)
        redis.call('XDEL', log, unpack(gone, i, last))
        redis.call('HDEL', ids, unpack(gone_ids, i, last))
    end
    redis.call('SET', KEYS[1], cjson.encode(result), 'EX', keep_receipt)
end
return result
