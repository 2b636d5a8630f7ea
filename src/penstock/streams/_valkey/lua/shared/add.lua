-- Adding one entry as everything that adds does it: under the stream's cap, and into the history of its entity. Needs ids
-- and floor.

-- Notes an entry in the history of its entity. `index` is {the history, all histories of the stream, its name there, the
-- place it stood at first ('' = this one; with a '?' before it, only where there is a history already)}. A history is a
-- list in the order of first places, each item that place or, of an entry that was put back, `<first place> <present id>`.
local function note_history(index, entry_id)
  local history, first = index[1], index[4]
  if string.sub(first, 1, 1) == '?' then
    if redis.call('EXISTS', history) == 0 then
      return
    end
    first = string.sub(first, 2)
  end
  if first == '' or first == entry_id then
    if redis.call('RPUSH', history, entry_id) == 1 then
      redis.call('SADD', index[2], index[3])
    end
    return
  end
  local item, last = first .. ' ' .. entry_id, redis.call('LLEN', history)
  while last > 0 do
    local from = math.max(0, last - 100)
    local items = redis.call('LRANGE', history, from, last - 1)
    for number = #items, 1, -1 do
      local place = string.match(items[number], '^%S+')
      if place == first then
        redis.call('LSET', history, from + number - 1, item)
        return
      end
      if before(place, first) then
        redis.call('LINSERT', history, 'AFTER', items[number], item)
        return
      end
    end
    last = from
  end
  if redis.call('LPUSH', history, item) == 1 then
    redis.call('SADD', index[2], index[3])
  end
end

-- Adds an entry. `fields` is a table whose items from `from` on are names and values; `cap` is {most entries (0 = any),
-- greatest age in ms (0 = any), whether the cap comes before what readers need}; `readers` are the keys of those who read
-- the stream besides its groups; `index` see above, or nil. Answers the entry id, or nil when the cap is reached and the
-- oldest entry is still needed; then nothing was changed. XADD is the first write.
local function add(stream, entry_id, fields, from, cap, readers, index)
  local max_entries, max_age_ms = cap[1], cap[2]
  local needed = nil
  if max_entries > 0 or max_age_ms > 0 then
    local length = redis.call('EXISTS', stream) == 1 and redis.call('XLEN', stream) or 0
    if not cap[3] and length > 0 and ((max_entries > 0 and length >= max_entries) or max_age_ms > 0) then
      needed = floor(holds(stream, readers[1], readers[2], readers[3]))
    end
    if needed and max_entries > 0 and length >= max_entries then
      -- The last of those that would have to go is the one that may still be needed.
      local going = redis.call('XRANGE', stream, '-', '+', 'COUNT', length - max_entries + 1)
      if not before(going[#going][1], needed) then
        return nil
      end
    end
  end

  local command = {'XADD', stream, entry_id}
  for number = from, #fields do
    command[#command + 1] = fields[number]
  end
  local added = redis.call(unpack(command))
  if index then
    note_history(index, added)
  end

  if max_entries > 0 then
    redis.call('XTRIM', stream, 'MAXLEN', '=', max_entries)
  end
  if max_age_ms > 0 then
    local time = redis.call('TIME')
    local oldest = string.format('%.0f', math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - max_age_ms))
    if needed and before(needed, oldest .. '-0') then
      oldest = needed
    end
    -- A great deal of it goes in steps, one with each append, so that the server never stalls: whole nodes first.
    if redis.call('XTRIM', stream, 'MINID', '~', oldest, 'LIMIT', 10000) < 5000 then
      redis.call('XTRIM', stream, 'MINID', '=', oldest)
    end
  end
  return added
end
