-- name: look_for_role
-- Whether a role is there, whether it is the one that asks, and whether that one may make it.
SELECT current_user AS owner, current_user = $1 AS is_owner,
       EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS is_there,
       (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) AS may_make_it;

-- name: making_role
-- The statement that makes a role which can sign in and nothing else; the password is hashed on the way to the disk.
SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD %L',
              $1::text, $2::text);

-- name: held_rights
-- What a role can do, by whatever way: with our tables and their columns, and with the database itself.
WITH ours AS (
    SELECT c.oid, c.relname FROM pg_class AS c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
)
SELECT v.verb || ' ON ' || t.relname AS right
FROM ours AS t, unnest(ARRAY['SELECT', 'INSERT', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS v (verb)
WHERE has_table_privilege($1::text, t.oid, v.verb)
UNION ALL
SELECT v.verb || ' (' || a.attname || ') ON ' || t.relname
FROM ours AS t JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped,
     unnest(ARRAY['UPDATE', 'SELECT']) AS v (verb)
WHERE has_column_privilege($1::text, t.oid, a.attnum, v.verb)
  AND NOT (v.verb = 'SELECT' AND has_table_privilege($1::text, t.oid, 'SELECT'))
UNION ALL
-- An owner may alter, drop and switch triggers off, and so may who can become it.
SELECT 'OWNERSHIP ON ' || c.relname FROM pg_class AS c JOIN ours USING (oid)
WHERE pg_has_role($1::text, c.relowner, 'MEMBER')
UNION ALL
SELECT 'SUPERUSER ON ' || current_database() FROM pg_roles WHERE rolname = $1 AND rolsuper
UNION ALL
-- Whoever makes a table, be it a temporary one, can put it in the place of one that a trigger reads.
SELECT v.verb || ' ON DATABASE ' || current_database() FROM unnest(ARRAY['TEMPORARY', 'CREATE']) AS v (verb)
WHERE has_database_privilege($1::text, current_database(), v.verb)
UNION ALL
SELECT 'CREATE ON SCHEMA ' || current_schema() WHERE has_schema_privilege($1::text, current_schema(), 'CREATE');

-- name: granting
-- The statements that take all rights from a role and give it these: each as its table and the rights by comma.
WITH ours AS (
    SELECT c.relname FROM pg_class AS c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
      AND pg_has_role(c.relowner, 'USAGE')
)
SELECT place, statement FROM (
    SELECT 1 AS place, format('REVOKE ALL ON %I.%I FROM %I', current_schema(), relname, $1::text) AS statement FROM ours
    UNION ALL
    SELECT 2, format('GRANT %s ON %I.%I TO %I', g.rights, current_schema(), g.name, $1::text)
    FROM unnest($2::text[], $3::text[]) AS g (name, rights)
    UNION ALL
    SELECT 3, format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), $1::text)
    WHERE NOT has_schema_privilege($1::text, current_schema(), 'USAGE')
    UNION ALL
    SELECT 4, format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), $1::text)
    WHERE NOT has_database_privilege($1::text, current_database(), 'CONNECT')
    UNION ALL
    -- By default everybody may make temporary tables. Not ours to change where the database is another's.
    SELECT 5, format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, %I', current_database(), $1::text)
    FROM pg_database WHERE datname = current_database() AND pg_has_role(datdba, 'USAGE')
    UNION ALL
    SELECT 6, format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %I', current_schema(), $1::text)
    FROM pg_namespace WHERE nspname = current_schema() AND pg_has_role(nspowner, 'USAGE')
) AS statements ORDER BY place, statement;
