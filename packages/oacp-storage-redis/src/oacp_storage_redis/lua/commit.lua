-- Judges and applies a group of units in one step, once per attempt. Mirrors oacp_storage_engine.judge.
--
-- KEYS     the receipt's key, then keys of the same slot (see layout.py)
-- ARGV     schema version, seconds to keep the receipt, number of this attempt, "1" to write the receipt in any case,
--          channel for watchers, tag of the buckets without the bucket's two digits, number of units; then for each
--          unit one of
--            "x" .. bucket, agent, id, at, crc, body           one append with a generated id
--            "y" .. bucket, agent                              appends with generated ids, and puts, as follows
--              number of appends, then for each: id, at, crc, body
--              number of puts, then for each as below
--            "a" .. bucket or "t" .. bucket (a turn), agent    any appends, and puts, as follows
--            "s" .. bucket, ""                                 puts of system state, as follows
--              number of appends, then for each: id, at, crc, body, given ("1" or "0"), sequence or ""
--              number of puts, then for each: kind .. key, "p" or "d" (delete), at .. "\n" .. crc, body,
--              expected or "", version or ""
-- Returns  one line per unit: "A<sequences>|<versions>|<existing>|<replayed>", "C<put>|<actual>",
--          "D<append>|<sequence>", or only the sequence of a unit "x".
--
-- Numbers are decimal text throughout, because Lua's are doubles; documents are never parsed. Everything is checked
-- before the first write: an error halfway would keep the earlier writes. Attempts of one receipt are numbered, and
-- one that comes after a later one is refused: its sender has given it up.
--
-- A server does nothing else meanwhile, so what is planned is kept as positions in ARGV instead of tables, and no
-- string is made of a body: for large ones that costs more than storing them.

local call, ARGV = redis.call, ARGV
local schema, keep, number, tag_start = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local position = 8

local function less(a, b)
    if #a ~= #b then return #a < #b end
    return a < b
end

local receipt = call('GET', KEYS[1])
if receipt then
    local cut = string.find(receipt, '\n', 1, true)
    local last = string.sub(receipt, 1, cut - 1)
    if last == number then
        call('EXPIRE', KEYS[1], keep)  -- a write, so that WAIT waits for what the attempt wrote
        return string.sub(receipt, cut + 1)
    end
    if less(number, last) then return redis.error_reply('OACPSTALE a later attempt was applied') end
end

-- One append alone with a generated id, which is what a single caller sends, takes a short way: its XADD is the first
-- write, so that it may fail.
if ARGV[7] == '1' and string.sub(ARGV[8], 1, 1) == 'x' then
    local tag, name = tag_start .. string.sub(ARGV[8], 2) .. '}', ARGV[9]
    local found = call('GET', tag .. ':schema')
    if found and found ~= schema then return redis.error_reply('OACPSCHEMA ' .. found) end
    local known = call('HGET', tag .. ':heads', name)
    local head = known or call('HGET', tag .. ':tombstones', redis.sha1hex(name)) or '0'
    if #head < 15 then
        local sequence = string.format('%d', head + 1)
        local added = redis.pcall('XADD', tag .. ':log:' .. name, '0-' .. sequence, 'id', ARGV[10], 'at', ARGV[11],
                                  'crc', ARGV[12], 'body', ARGV[13])
        if type(added) == 'table' then
            if not string.find(added.err, 'smaller', 1, true) then return added end
            return redis.error_reply('OACPDAMAGE ' .. head .. ' ' .. name)
        end
        if not found then call('SET', tag .. ':schema', schema) end
        call('HSET', tag .. ':ids:' .. name, ARGV[10], sequence)
        call('HSET', tag .. ':heads', name, sequence)
        if not known then call('ZADD', tag .. ':agents', 0, name) end
        call('SET', KEYS[1], number .. '\n' .. sequence, 'EX', keep)
        redis.pcall('PUBLISH', ARGV[5], name)
        return sequence
    end
end

local function increment(n)
    if #n < 15 then return string.format('%d', n + 1) end
    local digits, i = {string.byte(n, 1, #n)}, #n
    while i > 0 and digits[i] == 57 do
        digits[i] = 48
        i = i - 1
    end
    if i == 0 then return '1' .. string.char(unpack(digits)) end
    digits[i] = digits[i] + 1
    return string.char(unpack(digits))
end

local buckets, agents, order, versions, known = {}, {}, {}, {}, {}
local results, refusal = {}, nil

-- What is planned: "append", "put" or "delete", of whom, from which position of ARGV on, as which sequence or version.
local planned, whats, owners, froms, numbers = 0, {}, {}, {}, {}

-- The bucket of a unit: its tag, and whether it carries the schema mark. Another version refuses the whole group.
local function bucket_of(digits)
    local bucket = buckets[digits]
    if not bucket then
        local tag = tag_start .. digits .. '}'
        local found = call('GET', tag .. ':schema')
        if found and found ~= schema then refusal = redis.error_reply('OACPSCHEMA ' .. found) end
        bucket = {tag = tag, marked = found}
        buckets[digits] = bucket
    end
    return bucket
end

local function agent_of(digits, name)
    local agent = agents[name]
    if not agent then
        local bucket = bucket_of(digits)
        local tag = bucket.tag
        local head = call('HGET', tag .. ':heads', name)
        agent = {bucket = bucket, name = name, log = tag .. ':log:' .. name, documents = tag .. ':documents:' .. name,
                 new = not head, new_ids = {}}
        agent.head = head or call('HGET', tag .. ':tombstones', redis.sha1hex(name)) or '0'
        agents[name] = agent
        order[#order + 1] = agent
    end
    return agent
end

local function plan(what, owner, from, as)
    planned = planned + 1
    whats[planned], owners[planned], froms[planned], numbers[planned] = what, owner, from, as
    owner.touched = true
end

-- Before appends are planned: nothing may stand after the head, or XADD would fail halfway.
local function check_log(agent)
    if agent.appended then return end
    agent.appended = true
    if call('XREVRANGE', agent.log, '+', '(0-' .. agent.head, 'COUNT', 1)[1] then
        refusal = redis.error_reply('OACPDAMAGE ' .. agent.head .. ' ' .. agent.name)
    end
end

-- Plans the appends with generated ids from "position" on, and returns their sequences.
local function append_generated(agent, count)
    local head, sequences = agent.head, {}
    if count > 0 then check_log(agent) end
    for i = 1, count do
        head = increment(head)
        sequences[i] = head
        plan('append', agent, position, head)
        position = position + 4
    end
    agent.head = head
    return sequences
end

local function version_of(owner, field)
    local key = owner.documents .. '\0' .. field
    if not versions[key] then
        local stored = call('HGET', owner.documents, 'v' .. field)
        versions[key] = stored and string.match(stored, '^%d+') or '0'
    end
    return versions[key], key
end

-- The first of the puts from "position" on that expects another version, as a result.
local function conflict_of(owner, count)
    for i = 0, count - 1 do
        local from = position + 6 * i
        local expected = ARGV[from + 4]
        if expected ~= '' then
            local actual = version_of(owner, ARGV[from])
            if expected ~= actual then return 'C' .. i .. '|' .. actual end
        end
    end
end

-- Plans the puts from "position" on, and returns the versions that the documents then have.
local function put_all(owner, count)
    local made = {}
    for i = 1, count do
        local actual, key = version_of(owner, ARGV[position])
        if ARGV[position + 1] == 'd' then
            made[i] = actual
            if actual ~= '0' then
                versions[key] = '0'
                plan('delete', owner, position)
            end
        else
            local version = ARGV[position + 5]
            if version == '' then version = increment(actual) end
            made[i], versions[key] = version, version
            plan('put', owner, position, version)
        end
        position = position + 6
    end
    return made
end

local function applied(sequences, made, existing, replayed)
    return 'A' .. table.concat(sequences, ',') .. '|' .. table.concat(made, ',') .. '|'
        .. table.concat(existing, ',') .. '|' .. replayed
end

-- A unit whose appends all have generated ids: they are new.
local function judge_generated(agent)
    local appends = tonumber(ARGV[position])
    local first = position + 1
    local after = first + 4 * appends
    local puts = tonumber(ARGV[after])
    position = after + 1
    local refused = conflict_of(agent, puts)
    if refused then
        position = position + 6 * puts
        return refused
    end
    position = first
    local sequences = append_generated(agent, appends)
    position = after + 1
    return applied(sequences, put_all(agent, puts), {}, '0')
end

-- Any other unit, whose appends may exist already.
local function judge_any(owner, turn)

    local function find(id)
        local key = owner.log .. '\0' .. id
        if known[key] == nil then
            known[key] = false
            local sequence = call('HGET', owner.bucket.tag .. ':ids:' .. owner.name, id)
            if sequence then
                local entry = call('XRANGE', owner.log, '0-' .. sequence, '0-' .. sequence)[1]
                if entry then known[key] = {sequence = sequence, body = entry[2][8]} end
            end
        end
        return known[key]
    end

    local appends = {}
    for i = 1, tonumber(ARGV[position]) do
        local from = position + 1 + 6 * (i - 1)
        appends[i] = {from = from, id = ARGV[from], body = ARGV[from + 3], given = ARGV[from + 4] == '1',
                      sequence = ARGV[from + 5]}
    end
    position = position + 1 + 6 * #appends
    local puts = tonumber(ARGV[position])
    position = position + 1
    local after = position + 6 * puts

    -- What of the appends exists: index to sequence, twins within the unit, and the indexes of both; or a result.
    local function existing_of()
        local found, twins, existing, first = {}, {}, {}, {}
        for i, append in ipairs(appends) do
            if append.given then
                local there = find(append.id)
                local twin = first[append.id]
                if there then
                    local moved = append.sequence ~= '' and append.sequence ~= there.sequence
                    if moved or append.body ~= there.body then return 'D' .. (i - 1) .. '|' .. there.sequence end
                    found[i] = there.sequence
                    existing[#existing + 1] = i - 1
                elseif twin then
                    if turn or append.sequence ~= twin.sequence or append.body ~= twin.body then
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

    local function judge()
        local refused, found, twins, existing = existing_of()
        if refused then return refused end
        if turn and #existing > 0 then
            if #existing < #appends then return 'D' .. existing[1] .. '|' .. found[existing[1] + 1] end
            return applied(found, {}, existing, '1')
        end
        local sequences, assigned, head = {}, {}, owner.head
        for i, append in ipairs(appends) do
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
        refused = conflict_of(owner, puts)
        if refused then return refused end
        if #appends > 0 then check_log(owner) end
        for i, append in ipairs(appends) do
            if not found[i] and not twins[i] then
                plan('append', owner, append.from, sequences[i])
                if append.given then
                    known[owner.log .. '\0' .. append.id] = {sequence = sequences[i], body = append.body}
                end
            end
        end
        owner.head = head
        return applied(sequences, put_all(owner, puts), existing, '0')
    end

    local result = judge()
    position = after
    return result
end

for i = 1, tonumber(ARGV[7]) do
    local header, name = ARGV[position], ARGV[position + 1]
    local kind, digits = string.sub(header, 1, 1), string.sub(header, 2)
    position = position + 2
    if kind == 'x' then
        results[i] = append_generated(agent_of(digits, name), 1)[1]
    elseif kind == 'y' then
        results[i] = judge_generated(agent_of(digits, name))
    elseif kind == 's' then
        local bucket = bucket_of(digits)
        results[i] = judge_any({bucket = bucket, documents = bucket.tag .. ':system'}, false)
    else
        results[i] = judge_any(agent_of(digits, name), kind == 't')
    end
    if refusal then return refusal end
end

-- From here on nothing fails.

-- The sorted set of keys that a document belongs to; states, of which an agent has one, are in none.
local function keys_of(owner, field)
    if string.sub(field, 1, 1) == 't' then return nil end
    return owner.name and owner.bucket.tag .. ':keys:' .. owner.name or owner.bucket.tag .. ':system-keys'
end

local function write_ids(agent)
    if #agent.new_ids > 0 then
        call('HSET', agent.bucket.tag .. ':ids:' .. agent.name, unpack(agent.new_ids))
        agent.new_ids = {}
    end
end

for i = 1, planned do
    local what, owner, from, as = whats[i], owners[i], froms[i], numbers[i]
    if what == 'append' then
        local id = ARGV[from]
        call('XADD', owner.log, '0-' .. as, 'id', id, 'at', ARGV[from + 1], 'crc', ARGV[from + 2],
             'body', ARGV[from + 3])
        local new_ids = owner.new_ids
        local n = #new_ids
        new_ids[n + 1], new_ids[n + 2] = id, as
        if n >= 2000 then write_ids(owner) end
    else
        local field = ARGV[from]
        local keys = keys_of(owner, field)
        if what == 'put' then
            call('HSET', owner.documents, 'v' .. field, as .. '\n' .. ARGV[from + 2], field, ARGV[from + 3])
            if keys then call('ZADD', keys, 0, string.sub(field, 2)) end
        else
            call('HDEL', owner.documents, 'v' .. field, field)
            if keys then call('ZREM', keys, string.sub(field, 2)) end
        end
    end
    local bucket = owner.bucket
    if not bucket.marked then
        call('SET', bucket.tag .. ':schema', schema)
        bucket.marked = true
    end
end

local appended = {}
for _, agent in ipairs(order) do
    if agent.touched then
        write_ids(agent)
        local tag = agent.bucket.tag
        call('HSET', tag .. ':heads', agent.name, agent.head)
        if agent.new then call('ZADD', tag .. ':agents', 0, agent.name) end
        if agent.appended then appended[#appended + 1] = agent.name end
    end
end

local result = table.concat(results, '\n')
if planned > 0 or ARGV[4] == '1' then call('SET', KEYS[1], number .. '\n' .. result, 'EX', keep) end
if #appended > 0 then
    -- Watchers are only woken by this and look by themselves too, so a user who may not publish can still write.
    redis.pcall('PUBLISH', ARGV[5], #appended <= 100 and table.concat(appended, '\0') or '')
end
return result
