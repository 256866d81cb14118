-- name: create_records
-- All that the Stripe double knows (SQLite): objects, events, deliveries, saved answers, faults, settings, by kind.
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT NOT NULL,
    due_ms INTEGER,
    body BLOB NOT NULL,
    CONSTRAINT one_record_per_id UNIQUE (kind, id)
)

-- name: create_order
-- Lists of one kind, and of one parent, in the order in which they were made.
CREATE INDEX IF NOT EXISTS record_order ON record (kind, parent, seq)

-- name: create_due
-- What something must be done about, and when.
CREATE INDEX IF NOT EXISTS record_due ON record (kind, due_ms) WHERE due_ms IS NOT NULL

-- name: put
-- Writes a record; one that is there keeps its place in the order.
INSERT INTO record (kind, id, parent, due_ms, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET parent = excluded.parent, due_ms = excluded.due_ms, body = excluded.body

-- name: load
-- One record.
SELECT body FROM record WHERE kind = ? AND id = ?

-- name: place
-- Where a record stands in the order.
SELECT seq FROM record WHERE kind = ? AND id = ?

-- name: clear
-- Takes all records away: the next test begins.
DELETE FROM record

-- name: list_all
-- All of a kind, oldest first.
SELECT body FROM record WHERE kind = ? ORDER BY seq

-- name: list_of
-- All of a kind with one parent, oldest first.
SELECT body FROM record WHERE kind = ? AND parent = ? ORDER BY seq

-- name: list_before
-- All of a kind made before a place in the order, newest first.
SELECT body FROM record WHERE kind = ? AND seq < ? ORDER BY seq DESC

-- name: list_after
-- All of a kind made after a place in the order, oldest first.
SELECT body FROM record WHERE kind = ? AND seq > ? ORDER BY seq

-- name: due
-- Those of a kind whose time has come, the earliest first.
SELECT body FROM record WHERE kind = ? AND due_ms <= ? ORDER BY due_ms, seq LIMIT ?

-- name: next_due
-- When the next record of any of five kinds is due.
SELECT min(due_ms) FROM record WHERE kind IN (?, ?, ?, ?, ?) AND due_ms IS NOT NULL

-- name: prune
-- Forgets those of a kind whose time has come.
DELETE FROM record WHERE kind = ? AND due_ms <= ?
