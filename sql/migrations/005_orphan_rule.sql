-- Whether a hold may leave a single seat alone between taken seats and aisles: one of an event's limits.
ALTER TABLE event
    ADD COLUMN orphan_rule text NOT NULL DEFAULT 'off',  -- strict: never; lenient: where the row offers nothing else
    ADD CONSTRAINT event_orphan_rule_is_known CHECK (orphan_rule IN ('off', 'strict', 'lenient'));
