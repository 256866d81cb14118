-- Stripe's pace, kept by all processes of the house together, and the queue of payments that are to be made at it.
-- docs/decisions/024

-- Unlogged: after a crash it begins anew, which grants one burst, and no call waits for the disk.
CREATE UNLOGGED TABLE stripe_pace (
    name           text PRIMARY KEY,
    next_at        timestamptz NOT NULL DEFAULT now(),
    background_at  timestamptz NOT NULL DEFAULT now(),
    share          double precision NOT NULL DEFAULT 1,
    slowed_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pace_is_a_share CHECK (share > 0 AND share <= 1)
) WITH (fillfactor = 10);

DROP INDEX outbox_open;
CREATE INDEX outbox_open ON outbox (due) WHERE done IS NULL AND act <> 'create_intent';
CREATE INDEX outbox_creates ON outbox (id) WHERE done IS NULL AND act = 'create_intent';
