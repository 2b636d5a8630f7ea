"""What people have given to a live table, and what has to be true of the one that takes its place.

Owner, grants, policies, replica identity, comments and options are given to the new one as well. Triggers, rules and
publications go over to it: they act on something else, which the former one, fed in the background, must not do.

Each query here answers with statements, in which the new one has the name of the live one already.
"""

from collections.abc import Iterator
from typing import Final

from penstock.projections._engine._sql import rows
from penstock.replays._postgres.switching_pairs import Pairs, Step
from penstock.store.database import Connection, Database

__all__ = ["carried", "taken_off"]

_PAIRS: Final = """\
WITH pair AS (
    SELECT l.oid AS live, c.oid AS copy, l.relowner AS owner, pg_catalog.format('%I.%I', n.nspname, l.relname) AS place,
           pg_catalog.format('%I.%I', m.nspname, c.relname) AS former, n.nspname || '.' || l.relname AS shown,
           CASE l.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END AS word, l.relkind AS kind
      FROM unnest(?::bigint[], ?::bigint[]) AS given(live, copy)
      JOIN pg_catalog.pg_class AS l ON l.oid = given.live
      JOIN pg_catalog.pg_class AS c ON c.oid = given.copy
      JOIN pg_catalog.pg_namespace AS n ON n.oid = l.relnamespace
      JOIN pg_catalog.pg_namespace AS m ON m.oid = c.relnamespace)
"""
_OWNERS: Final = """\
SELECT 'owner of ' || pair.shown,
       pg_catalog.format('ALTER %s %s OWNER TO %I', pair.word, pair.place, pg_catalog.pg_get_userbyid(pair.owner))
  FROM pair JOIN pg_catalog.pg_class AS c ON c.oid = pair.copy WHERE c.relowner <> pair.owner"""
_GRANTS: Final = """\
, held AS (
    -- Tables and columns, and the sequences that belong to columns of both.
    SELECT pair.shown, 'TABLE' AS word, pair.place, ''::text AS columns, l.relowner AS owner,
           coalesce(l.relacl, pg_catalog.acldefault('r', l.relowner)) AS acl,
           coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner)) AS acl_copy, c.relowner AS owner_copy
      FROM pair JOIN pg_catalog.pg_class AS l ON l.oid = pair.live JOIN pg_catalog.pg_class AS c ON c.oid = pair.copy
    UNION ALL
    SELECT pair.shown, 'SEQUENCE', pg_catalog.format('%I.%I', n.nspname, cs.relname), '', s.relowner,
           coalesce(s.relacl, pg_catalog.acldefault('s', s.relowner)),
           coalesce(cs.relacl, pg_catalog.acldefault('s', cs.relowner)), cs.relowner
      FROM pair
      JOIN pg_catalog.pg_depend AS d ON d.refobjid = pair.live AND d.refclassid = 'pg_catalog.pg_class'::regclass
       AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
      JOIN pg_catalog.pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
      JOIN pg_catalog.pg_class AS l ON l.oid = pair.live JOIN pg_catalog.pg_namespace AS n ON n.oid = l.relnamespace
      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = pair.live AND a.attnum = d.refobjsubid
      JOIN pg_catalog.pg_attribute AS ca ON ca.attrelid = pair.copy AND ca.attname = a.attname
      JOIN pg_catalog.pg_depend AS cd ON cd.refobjid = pair.copy AND cd.refclassid = 'pg_catalog.pg_class'::regclass
       AND cd.classid = 'pg_catalog.pg_class'::regclass AND cd.deptype IN ('a', 'i') AND cd.refobjsubid = ca.attnum
      JOIN pg_catalog.pg_class AS cs ON cs.oid = cd.objid AND cs.relkind = 'S'
), changed AS (
    SELECT * FROM held
     WHERE EXISTS ((SELECT grantee, privilege_type, is_grantable FROM pg_catalog.aclexplode(acl)
                     WHERE grantee <> owner EXCEPT
                    SELECT grantee, privilege_type, is_grantable FROM pg_catalog.aclexplode(acl_copy)
                     WHERE grantee <> owner_copy)
                   UNION ALL
                   (SELECT grantee, privilege_type, is_grantable FROM pg_catalog.aclexplode(acl_copy)
                     WHERE grantee <> owner_copy EXCEPT
                    SELECT grantee, privilege_type, is_grantable FROM pg_catalog.aclexplode(acl)
                     WHERE grantee <> owner))
), statement AS (
    -- What others have handed on goes with what they were given.
    SELECT shown, 1 AS step, pg_catalog.format('REVOKE ALL ON %s %s FROM %s CASCADE', word, place,
           CASE e.grantee WHEN 0 THEN 'PUBLIC'
                ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END) AS sql
      FROM changed, pg_catalog.aclexplode(acl_copy) AS e WHERE e.grantee <> owner_copy
    UNION
    SELECT pair.shown, 1, pg_catalog.format('REVOKE ALL (%I) ON %s FROM %s CASCADE', c.attname, pair.place,
           CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END)
      FROM pair JOIN pg_catalog.pg_attribute AS c ON c.attrelid = pair.copy AND c.attacl IS NOT NULL
      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = pair.live AND a.attname = c.attname AND NOT a.attisdropped
       AND a.attacl::text IS DISTINCT FROM c.attacl::text
      CROSS JOIN LATERAL pg_catalog.aclexplode(c.attacl) AS e
    UNION
    SELECT shown, 2, pg_catalog.format('GRANT %s ON %s %s TO %s%s', e.privilege_type, word, place,
           CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END,
           CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM changed, pg_catalog.aclexplode(acl) AS e WHERE e.grantee <> owner
    UNION
    SELECT pair.shown, 3, pg_catalog.format('GRANT %s (%I) ON %s TO %s%s', e.privilege_type, a.attname, pair.place,
           CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END,
           CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM pair JOIN pg_catalog.pg_attribute AS a ON a.attrelid = pair.live AND a.attacl IS NOT NULL
      JOIN pg_catalog.pg_attribute AS c ON c.attrelid = pair.copy AND c.attname = a.attname AND NOT c.attisdropped
      CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) AS e)
SELECT 'grants of ' || shown, sql FROM statement ORDER BY shown, step, sql"""
_OPTIONS: Final = """\
SELECT 'options of ' || pair.shown, pg_catalog.format('ALTER %s %s SET (%s)', pair.word, pair.place,
       (SELECT pg_catalog.string_agg(split_part(o, '=', 1) || ' = ' ||
                                     pg_catalog.quote_literal(substr(o, strpos(o, '=') + 1)), ', ')
          FROM unnest(l.reloptions) AS o))
  FROM pair JOIN pg_catalog.pg_class AS l ON l.oid = pair.live JOIN pg_catalog.pg_class AS c ON c.oid = pair.copy
 WHERE l.reloptions IS NOT NULL AND c.reloptions IS NULL
UNION ALL
SELECT 'statistics of ' || pair.shown, pg_catalog.format(
           'ALTER %s %s ALTER COLUMN %I SET STATISTICS %s', pair.word, pair.place, a.attname, a.attstattarget)
  FROM pair JOIN pg_catalog.pg_attribute AS a ON a.attrelid = pair.live AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_catalog.pg_attribute AS c ON c.attrelid = pair.copy AND c.attname = a.attname AND NOT c.attisdropped
 WHERE coalesce(a.attstattarget, -1) >= 0 AND coalesce(c.attstattarget, -1) < 0"""
_COMMENTS: Final = """\
SELECT 'comment on ' || pair.shown, CASE WHEN a.attnum IS NULL
       THEN pg_catalog.format('COMMENT ON %s %s IS %L', pair.word, pair.place, d.description)
       ELSE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', pair.place, a.attname, d.description) END
  FROM pair JOIN pg_catalog.pg_description AS d
    ON d.objoid = pair.live AND d.classoid = 'pg_catalog.pg_class'::regclass
  LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = pair.live AND a.attnum = d.objsubid AND d.objsubid > 0
  LEFT JOIN pg_catalog.pg_attribute AS c ON c.attrelid = pair.copy AND c.attname = a.attname AND NOT c.attisdropped
 WHERE (d.objsubid = 0 OR c.attnum IS NOT NULL)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_description AS o
                    WHERE o.objoid = pair.copy AND o.classoid = d.classoid AND o.objsubid = coalesce(c.attnum, 0))"""
_POLICIES: Final = """\
SELECT 'policy ' || p.polname || ' of ' || pair.shown, pg_catalog.format(
           'CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname, pair.place,
           CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
           CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                         ELSE 'ALL' END,
           (SELECT pg_catalog.string_agg(CASE r WHEN 0 THEN 'PUBLIC'
                       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r)) END, ', ')
              FROM unnest(p.polroles) AS r),
           ' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')',
           ' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')')
  FROM pair JOIN pg_catalog.pg_policy AS p ON p.polrelid = pair.live
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_policy AS o WHERE o.polrelid = pair.copy AND o.polname = p.polname)
UNION ALL
SELECT 'policies of ' || pair.shown, pg_catalog.format('ALTER TABLE %s %s ROW LEVEL SECURITY', pair.place, flag.word)
  FROM pair JOIN pg_catalog.pg_class AS l ON l.oid = pair.live JOIN pg_catalog.pg_class AS c ON c.oid = pair.copy
 CROSS JOIN LATERAL (VALUES (l.relrowsecurity AND NOT c.relrowsecurity, 'ENABLE'),
                            (l.relforcerowsecurity AND NOT c.relforcerowsecurity, 'FORCE')) AS flag(missing, word)
 WHERE flag.missing"""
_IDENTITY: Final = """\
SELECT 'replica identity of ' || pair.shown, pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY %s', pair.place,
           CASE l.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' WHEN 'd' THEN 'DEFAULT'
           ELSE 'USING INDEX ' || pg_catalog.quote_ident(
               (SELECT x.relname FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
                 WHERE i.indrelid = pair.live AND i.indisreplident)) END)
  FROM pair JOIN pg_catalog.pg_class AS l ON l.oid = pair.live JOIN pg_catalog.pg_class AS c ON c.oid = pair.copy
 WHERE pair.kind IN ('r', 'p') AND (l.relreplident <> c.relreplident OR l.relreplident = 'i')"""
_PUBLICATIONS: Final = """\
SELECT 'publication ' || b.pubname, pg_catalog.format('ALTER PUBLICATION %I ADD TABLE %s%s%s', b.pubname, pair.place,
           (SELECT ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')'
              FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = pair.live AND a.attnum = ANY (r.prattrs::int2[])),
           ' WHERE (' || pg_catalog.pg_get_expr(r.prqual, r.prrelid) || ')')
  FROM pair JOIN pg_catalog.pg_publication_rel AS r ON r.prrelid = pair.live
  JOIN pg_catalog.pg_publication AS b ON b.oid = r.prpubid
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel AS o
                    WHERE o.prpubid = b.oid AND o.prrelid = pair.copy)"""
_OWN_TRIGGERS: Final = """\
  FROM pair JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = pair.live AND NOT t.tgisinternal
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS o WHERE o.tgrelid = pair.copy AND o.tgname = t.tgname)"""
_OWN_RULES: Final = """\
  FROM pair JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = pair.live AND r.rulename <> '_RETURN'
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite AS o WHERE o.ev_class = pair.copy AND o.rulename = r.rulename)"""
_TRIGGERS: Final = f"""\
SELECT 'trigger ' || tgname || ' on ' || shown, sql FROM (
    SELECT t.tgname, pair.shown, t.oid, 1 AS step, pg_catalog.pg_get_triggerdef(t.oid) AS sql {_OWN_TRIGGERS}
    UNION ALL
    SELECT t.tgname, pair.shown, t.oid, 2, pg_catalog.format('ALTER TABLE %s %s TRIGGER %I', pair.place,
           CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname)
    {_OWN_TRIGGERS} AND t.tgenabled <> 'O'
    UNION ALL
    SELECT t.tgname, pair.shown, t.oid, 3, pg_catalog.format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, pair.place,
           pg_catalog.obj_description(t.oid, 'pg_trigger'))
    {_OWN_TRIGGERS} AND pg_catalog.obj_description(t.oid, 'pg_trigger') IS NOT NULL) AS each
 ORDER BY oid, step"""
_RULES: Final = f"""\
SELECT 'rule ' || rulename || ' on ' || shown, sql FROM (
    SELECT r.rulename, pair.shown, r.oid, 1 AS step, pg_catalog.pg_get_ruledef(r.oid) AS sql {_OWN_RULES}
    UNION ALL
    SELECT r.rulename, pair.shown, r.oid, 2, pg_catalog.format('ALTER TABLE %s %s RULE %I', pair.place,
           CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END,
           r.rulename)
    {_OWN_RULES} AND r.ev_enabled <> 'O') AS each
 ORDER BY oid, step"""
_OFF: Final = f"""\
SELECT 'trigger ' || t.tgname || ' on ' || pair.shown, pg_catalog.format('DROP TRIGGER %I ON %s', t.tgname, pair.place)
{_OWN_TRIGGERS}
UNION ALL
SELECT 'rule ' || r.rulename || ' on ' || pair.shown, pg_catalog.format('DROP RULE %I ON %s', r.rulename, pair.place)
{_OWN_RULES}
UNION ALL
SELECT 'publication ' || b.pubname, pg_catalog.format('ALTER PUBLICATION %I DROP TABLE %s', b.pubname, pair.place)
  FROM pair JOIN pg_catalog.pg_publication_rel AS r ON r.prrelid = pair.live
  JOIN pg_catalog.pg_publication AS b ON b.oid = r.prpubid"""


def taken_off(database: Database, connection: Connection, pairs: Pairs) -> Iterator[Step]:
    """What takes triggers, rules and publications from the live ones, before they change places.

    No name is to be visible in the transaction but those of the catalog, here as below.
    """
    yield from _steps(database, connection, pairs, _OFF)


def carried(database: Database, connection: Connection, pairs: Pairs) -> Iterator[Step]:
    """What gives the new ones all that the live ones have; asked before anything is changed, and run afterwards."""
    for sql in (
        _OWNERS,
        _GRANTS,
        _OPTIONS,
        _COMMENTS,
        _POLICIES,
        _IDENTITY,
        _PUBLICATIONS,
        _RULES,
        _TRIGGERS,
    ):
        yield from _steps(database, connection, pairs, sql)


def _steps(database: Database, connection: Connection, pairs: Pairs, sql: str) -> Iterator[Step]:
    for subject, statement in rows(database, connection, _PAIRS + sql, pairs.both):
        yield Step(subject, statement)
