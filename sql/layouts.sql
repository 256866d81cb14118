-- name: layouts_of_events
-- Which layout version each event that is not over was made on, with its hash: what MongoDB is held against.
SELECT id, layout_id, layout_version, layout_hash FROM event WHERE state <> 'closed' ORDER BY id
