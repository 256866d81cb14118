-- Limits against those who keep seats from others: holds that were let expire, seats taken again and again, many
-- browsers behind one address. All are published with an event's other limits; 0 switches one of them off.
ALTER TABLE event
    ADD COLUMN expired_holds integer NOT NULL DEFAULT 3,  -- holds a holder may let expire before a pause
    ADD COLUMN cooldown_seconds integer NOT NULL DEFAULT 120,  -- the first pause; each further expired hold doubles it
    ADD COLUMN rehold_seconds integer NOT NULL DEFAULT 60,  -- how long a seat is not given to the holder who lost it
    ADD COLUMN release_jitter_seconds integer NOT NULL DEFAULT 0,  -- an expired hold's seats come back within so long
    ADD COLUMN address_holds integer NOT NULL DEFAULT 100,  -- live holds of one network address
    ADD COLUMN address_seats integer NOT NULL DEFAULT 500,  -- seats and places in them
    ADD CONSTRAINT event_fair_limits_are_counts CHECK (
        least(expired_holds, cooldown_seconds, rehold_seconds, release_jitter_seconds, address_holds, address_seats) >= 0);
