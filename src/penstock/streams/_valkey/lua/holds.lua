-- Who still needs what of a stream; see shared/floor.
--
-- KEYS: 1 stream, 2 registered groups, 3 cursors, 4 relays
--
-- A script so that all positions are of one moment.
-- include ids
-- include floor
return holds(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
