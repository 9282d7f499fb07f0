-- Shared by the scripts that read a log: walking over its entries, and packing them for the reply.

-- Calls visit(sequence, fields, bytes) for entries between the exclusive bounds (high "" for none), until it returns
-- true, or after about max_bytes. Entries are taken in pieces, so that large ones are never many at once.
-- Returns the last sequence visited if there may be more, else nil.
local function walk(log, low, high, reverse, max_bytes, visit)
    local piece, bytes, seen = 8, 0, 0
    while true do
        local first, last = '(0-' .. low, high ~= '' and '(0-' .. high or '+'
        local entries
        if reverse then
            entries = redis.call('XREVRANGE', log, last, first, 'COUNT', piece)
        else
            entries = redis.call('XRANGE', log, first, last, 'COUNT', piece)
        end
        local sequence
        for _, entry in ipairs(entries) do
            sequence = string.sub(entry[1], 3)
            local size = #(entry[2][8] or '')
            bytes, seen = bytes + size, seen + 1
            if visit(sequence, entry[2], size) or bytes >= max_bytes then return sequence end
        end
        if #entries < piece then return nil end
        if reverse then high = sequence else low = sequence end
        piece = math.max(1, math.min(piece * 4, 500, math.floor((max_bytes - bytes) / (bytes / seen + 1))))
    end
end

-- Collects entries as two strings: what describes them, divided by NUL (names hold none), and all bodies.
local function packing()
    local described, bodies = {}, {}
    local function add(sequence, fields)
        local body = fields[8] or ''
        local whole = #fields == 8 and fields[1] == 'id' and fields[3] == 'at' and fields[5] == 'crc'
        local n = #described
        described[n + 1] = sequence
        described[n + 2] = whole and fields[2] or ''
        described[n + 3] = whole and fields[4] or ''
        described[n + 4] = whole and fields[6] or ''
        described[n + 5] = #body
        bodies[#bodies + 1] = body
        return #bodies
    end
    return add, function() return table.concat(described, '\0'), table.concat(bodies) end
end
