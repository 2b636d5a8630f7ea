-- Entries that were packed to be added later. Needs add.

-- The parts of a packed entry, each `<length>:<bytes>`: most entries, greatest age in ms, whether the cap comes before what
-- readers need, the epoch of the layout that chose the partition ('' = it is none), the history's name ('' = none), then
-- names and values. (Lua's MessagePack here does not know what stands for bytes.)
local function unpacked(text)
  local parts, at = {}, 1
  while at <= #text do
    local colon = string.find(text, ':', at, true)
    local last = colon + tonumber(string.sub(text, at, colon - 1))
    parts[#parts + 1] = string.sub(text, colon + 1, last)
    at = last + 1
  end
  return parts
end

-- Adds an unpacked entry, leaving room below the cap for `spared` more. `histories` is {the set of all, what the keys of
-- histories begin with}. Answers as add.
local function add_kept(stream, kept, readers, histories, spared)
  local most = tonumber(kept[1])
  local cap = {most > 0 and most - spared or 0, tonumber(kept[2]), kept[3] == '1'}
  local index = kept[5] ~= '' and {histories[2] .. kept[5], histories[1], kept[5], ''} or nil
  return add(stream, '*', kept, 6, cap, readers, index)
end
