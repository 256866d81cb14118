-- An intent that a booking does not want beside its own is ended by the outbox, too, so that no crash forgets it.

ALTER TABLE outbox
    ADD COLUMN intent_id text,                -- of cancel_surplus: the intent that is not the booking's
    DROP CONSTRAINT outbox_act_is_known,
    ADD CONSTRAINT outbox_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'cancel_surplus', 'capture_intent', 'sell_hold', 'free_booking',
        'restore_hold')),
    -- Only a surplus intent is named here: the booking's own is the booking's, and may not be known yet.
    ADD CONSTRAINT surplus_is_named CHECK ((act = 'cancel_surplus') = (intent_id IS NOT NULL));
