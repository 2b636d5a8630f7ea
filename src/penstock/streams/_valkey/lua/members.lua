-- Who is there of a group; see shared/members.
--
-- KEYS: 1 members of the stream, 2 their descriptions
-- ARGV: 1 group (escaped)
--
-- A script because the server's clock decides who lives.
-- include lease
-- include members
return living(KEYS[1], KEYS[2], ARGV[1])
