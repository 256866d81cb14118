-- name: add_partner
-- Writes a new partner with the hash of the key that was just handed out.
INSERT INTO partner (id, name, channel, key_hash) VALUES ($1, $2, $3, $4);

-- name: end_partners
-- The keys of a channel's partners are good no more.
UPDATE partner SET ended = now() WHERE channel = $1 AND ended IS NULL RETURNING id;

-- name: find_partner
-- Whose key has this hash.
SELECT id, name, channel FROM partner WHERE key_hash = $1 AND ended IS NULL;

-- name: has_partner
-- Whether anybody still sells through this channel.
SELECT EXISTS (SELECT FROM partner WHERE channel = $1 AND ended IS NULL);
