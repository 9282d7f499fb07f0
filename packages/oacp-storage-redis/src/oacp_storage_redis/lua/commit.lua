-- Judges and applies a group of units in one step, once per attempt. Mirrors oacp_storage_engine.judge.
--
-- KEYS     the receipt's key, then keys of the same slot (see layout.py)
-- ARGV     schema version, seconds to keep the receipt, number of this attempt, "1" to write the receipt in any case,
--          channel for watchers, tag of the buckets without the bucket's two digits, number of units; then for each
--          unit one of
--            "x" .. bucket, agent, id, at, crc, body           one append with a generated id
--            "a" .. bucket or "t" .. bucket (a turn), agent    appends and puts of an agent, as follows
--            "s" .. bucket, ""                                 puts of system state, as follows
--              number of appends, then for each: id, given ("1" or "0"), at, crc, body, sequence or ""
--              number of puts, then for each: kind, key, "p" or "d" (delete), at, crc, body, expected or "",
--              version or ""
-- Returns  one line per unit: "A<sequences>|<versions>|<existing>|<replayed>", "C<put>|<actual>",
--          "D<append>|<sequence>", or only the sequence of a unit "x".
--
-- Numbers are decimal text throughout, because Lua's are doubles; documents are never parsed. Everything is checked
-- before the first write: an error halfway would keep the earlier writes. Attempts of one receipt are numbered, and
-- one that comes after a later one is refused: its sender has given it up.

local schema, keep, number, always, channel, tag_start = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local position = 6

local function less(a, b)
    if #a ~= #b then return #a < #b end
    return a < b
end

local receipt = redis.call('GET', KEYS[1])
if receipt then
    local cut = string.find(receipt, '\n', 1, true)
    local last = string.sub(receipt, 1, cut - 1)
    if last == number then
        redis.call('EXPIRE', KEYS[1], keep)  -- a write, so that WAIT waits for what the attempt wrote
        return string.sub(receipt, cut + 1)
    end
    if less(number, last) then return redis.error_reply('OACPSTALE a later attempt was applied') end
end

local function argument()
    position = position + 1
    return ARGV[position]
end

local function increment(n)
    if #n < 15 then return string.format('%d', tonumber(n) + 1) end
    local digits, i = {string.byte(n, 1, #n)}, #n
    while i > 0 and digits[i] == 57 do
        digits[i] = 48
        i = i - 1
    end
    if i == 0 then return '1' .. string.char(unpack(digits)) end
    digits[i] = digits[i] + 1
    return string.char(unpack(digits))
end

local buckets, agents, order, known, versions = {}, {}, {}, {}, {}
local writes, results, refusal = {}, {}, nil

-- The bucket of a unit: its tag, and whether it carries the schema mark. Another version refuses the whole group.
local function bucket_of(digits)
    local bucket = buckets[digits]
    if not bucket then
        local tag = tag_start .. digits .. '}'
        local found = redis.call('GET', tag .. ':schema')
        if found and found ~= schema then refusal = redis.error_reply('OACPSCHEMA ' .. found) end
        bucket = {tag = tag, marked = found}
        buckets[digits] = bucket
    end
    return bucket
end

local function agent_of(digits, name)
    local agent = agents[digits .. name]
    if not agent then
        local bucket = bucket_of(digits)
        local tag = bucket.tag
        local head = redis.call('HGET', tag .. ':heads', name)
        agent = {bucket = bucket, name = name, log = tag .. ':log:' .. name, ids = tag .. ':ids:' .. name,
                 documents = tag .. ':documents:' .. name, keys = tag .. ':keys:' .. name,
                 new = not head, new_ids = {}}
        agent.head = head or redis.call('HGET', tag .. ':tombstones', redis.sha1hex(name)) or '0'
        agents[digits .. name] = agent
        order[#order + 1] = agent
    end
    return agent
end

-- An append is about to be planned: nothing may stand after the head, or XADD would fail halfway.
local function check_log(agent)
    if agent.checked then return end
    agent.checked = true
    if redis.call('XREVRANGE', agent.log, '+', '(0-' .. agent.head, 'COUNT', 1)[1] then
        refusal = redis.error_reply('OACPDAMAGE ' .. agent.head .. ' ' .. agent.name)
    end
end

local function find(agent, id)
    local key = agent.ids .. '\0' .. id
    if known[key] == nil then
        known[key] = false
        local sequence = redis.call('HGET', agent.ids, id)
        if sequence then
            local entry = redis.call('XRANGE', agent.log, '0-' .. sequence, '0-' .. sequence)[1]
            if entry then known[key] = {sequence = sequence, body = entry[2][8]} end
        end
    end
    return known[key], key
end

local function version_of(owner, put)
    local key = owner.documents .. '\0' .. put.field
    if not versions[key] then
        local stored = redis.call('HGET', owner.documents, put.field)
        versions[key] = stored and string.match(stored, '^%d+') or '0'
    end
    return versions[key], key
end

-- What of the appends exists: index to sequence, twins within the unit, and the indexes of both; or a result.
local function existing_of(unit)
    local found, twins, existing, first = {}, {}, {}, {}
    for i, append in ipairs(unit.appends) do
        if append.given then
            local there = find(unit.owner, append.id)
            local twin = first[append.id]
            if there then
                local moved = append.sequence ~= '' and append.sequence ~= there.sequence
                if moved or append.body ~= there.body then return 'D' .. (i - 1) .. '|' .. there.sequence end
                found[i] = there.sequence
                existing[#existing + 1] = i - 1
            elseif twin then
                if unit.turn or append.sequence ~= twin.sequence or append.body ~= twin.body then
                    return 'D' .. (i - 1) .. '|0'
                end
                twins[i] = true
                existing[#existing + 1] = i - 1
            else
                first[append.id] = append
            end
        end
    end
    return nil, found, twins, existing
end

local function plan_append(agent, append, sequence)
    agent.touched = true
    agent.appended = true
    writes[#writes + 1] = {'append', agent, append, sequence}
    if append.given then known[agent.ids .. '\0' .. append.id] = {sequence = sequence, body = append.body} end
end

local function plan_put(owner, put)
    local actual, key = version_of(owner, put)
    if put.delete then
        if actual ~= '0' then
            owner.touched = true
            versions[key] = '0'
            writes[#writes + 1] = {'delete', owner, put}
        end
        return actual
    end
    owner.touched = true
    versions[key] = put.version ~= '' and put.version or increment(actual)
    writes[#writes + 1] = {'put', owner, put, versions[key]}
    return versions[key]
end

-- The result of a unit; what it writes is appended to "writes", and later units see it.
local function judge(unit)
    local refused, found, twins, existing = existing_of(unit)
    if refused then return refused end
    if unit.turn and #existing > 0 then
        if #existing < #unit.appends then return 'D' .. existing[1] .. '|' .. found[existing[1] + 1] end
        return 'A' .. table.concat(found, ',') .. '||' .. table.concat(existing, ',') .. '|1'
    end
    local sequences, assigned, head = {}, {}, unit.owner.head
    for i, append in ipairs(unit.appends) do
        if found[i] then
            sequences[i] = found[i]
        elseif twins[i] then
            sequences[i] = assigned[append.id]
        else
            if append.sequence ~= '' and not less(head, append.sequence) then return 'D' .. (i - 1) .. '|0' end
            head = append.sequence ~= '' and append.sequence or increment(head)
            sequences[i] = head
            assigned[append.id] = head
        end
    end
    for i, put in ipairs(unit.puts) do
        local actual = version_of(unit.owner, put)
        if put.expected ~= '' and put.expected ~= actual then return 'C' .. (i - 1) .. '|' .. actual end
    end
    if #unit.appends > 0 then check_log(unit.owner) end
    for i, append in ipairs(unit.appends) do
        if not found[i] and not twins[i] then plan_append(unit.owner, append, sequences[i]) end
    end
    unit.owner.head = head
    local new_versions = {}
    for i, put in ipairs(unit.puts) do new_versions[i] = plan_put(unit.owner, put) end
    return 'A' .. table.concat(sequences, ',') .. '|' .. table.concat(new_versions, ',') .. '|'
        .. table.concat(existing, ',') .. '|0'
end

local function read_unit(kind, digits)
    local unit = {turn = kind == 't', appends = {}, puts = {}}
    local name = argument()
    if kind == 's' then
        local bucket = bucket_of(digits)
        unit.owner = {bucket = bucket, documents = bucket.tag .. ':system', keys = bucket.tag .. ':system-keys'}
    else
        unit.owner = agent_of(digits, name)
    end
    for i = 1, tonumber(argument()) do
        unit.appends[i] = {id = argument(), given = argument() == '1', at = argument(), crc = argument(),
                           body = argument(), sequence = argument()}
    end
    for i = 1, tonumber(argument()) do
        local put = {kind = argument(), key = argument(), delete = argument() == 'd', at = argument(),
                     crc = argument(), body = argument(), expected = argument(), version = argument()}
        put.field = put.kind .. put.key
        unit.puts[i] = put
    end
    return unit
end

for i = 1, tonumber(argument()) do
    local header = argument()
    local kind, digits = string.sub(header, 1, 1), string.sub(header, 2)
    if kind == 'x' then
        local agent = agent_of(digits, argument())
        check_log(agent)
        agent.head = increment(agent.head)
        plan_append(agent, {id = argument(), at = argument(), crc = argument(), body = argument()}, agent.head)
        results[i] = agent.head
    else
        results[i] = judge(read_unit(kind, digits))
    end
    if refusal then return refusal end
end

-- From here on nothing fails.

local function write_ids(agent)
    if #agent.new_ids > 0 then
        redis.call('HSET', agent.ids, unpack(agent.new_ids))
        agent.new_ids = {}
    end
end

for _, write in ipairs(writes) do
    local what, owner, item, value = write[1], write[2], write[3], write[4]
    if what == 'append' then
        redis.call('XADD', owner.log, '0-' .. value, 'id', item.id, 'at', item.at, 'crc', item.crc, 'body', item.body)
        local new_ids = owner.new_ids
        new_ids[#new_ids + 1] = item.id
        new_ids[#new_ids + 1] = value
        if #new_ids >= 2000 then write_ids(owner) end
    elseif what == 'put' then
        redis.call('HSET', owner.documents, item.field,
                   value .. '\n' .. item.at .. '\n' .. item.crc .. '\n' .. item.body)
        if item.kind ~= 't' then redis.call('ZADD', owner.keys, 0, item.key) end
    else
        redis.call('HDEL', owner.documents, item.field)
        if item.kind ~= 't' then redis.call('ZREM', owner.keys, item.key) end
    end
    if not owner.bucket.marked then
        redis.call('SET', owner.bucket.tag .. ':schema', schema)
        owner.bucket.marked = true
    end
end

local appended = {}
for _, agent in ipairs(order) do
    if agent.touched then
        write_ids(agent)
        redis.call('HSET', agent.bucket.tag .. ':heads', agent.name, agent.head)
        if agent.new then redis.call('ZADD', agent.bucket.tag .. ':agents', 0, agent.name) end
        if agent.appended then appended[#appended + 1] = agent.name end
    end
end

local result = table.concat(results, '\n')
if #writes > 0 or always == '1' then redis.call('SET', KEYS[1], number .. '\n' .. result, 'EX', keep) end
if #appended > 0 then
    -- Watchers are only woken by this and look by themselves too, so a user who may not publish can still write.
    redis.pcall('PUBLISH', channel, #appended <= 100 and table.concat(appended, '\0') or '')
end
return result
