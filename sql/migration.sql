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

-- name: list_migrations
-- The landed migrations with the hashes that they had.
SELECT name, hash FROM migration ORDER BY name

-- name: record_migration
-- Notes that a migration has landed, in the transaction that applied it.
INSERT INTO migration (name, hash) VALUES ($1, $2)
