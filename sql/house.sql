-- name: ping
-- Asks whether PostgreSQL answers at all.
SELECT 1;

-- name: make_secret
-- Keeps the house's secret, unless another process was first.
INSERT INTO house (secret) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: load_secret
-- The secret that signs holder tokens and makes hold ids.
SELECT secret FROM house;
