-- name: lock_migrations
-- Lets one process of a database migrate at a time; the lock ends with the connection at the latest.
SELECT pg_advisory_lock(hashtext('lml migrations'))

-- name: create_migration_table
-- Makes the record of landed migrations, once.
CREATE TABLE IF NOT EXISTS migration (
    name     text PRIMARY KEY,
    hash     text NOT NULL,                   -- SHA-256 of the file: an edited migration is noticed
    applied  timestamptz NOT NULL DEFAULT now()
)

-- name: has_migration_table
-- Tells whether this database was ever migrated.
SELECT to_regclass('migration') IS NOT NULL

-- name: may_migrate
-- Whether this role can make tables here, and change those that are there.
SELECT has_schema_privilege(current_schema(), 'CREATE')
       AND coalesce((SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('migration')), true)

-- name: list_migrations
-- The landed migrations with the hashes that they had.
SELECT name, hash FROM migration ORDER BY name

-- name: record_migration
-- Notes that a migration has landed, in the transaction that applied it.
INSERT INTO migration (name, hash) VALUES ($1, $2)
