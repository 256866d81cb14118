-- Methods that cannot be captured later, money that came beside a booking's own payment, and buyers' saved cards.
-- docs/decisions/026

ALTER TABLE outbox
    DROP CONSTRAINT outbox_act_is_known,
    ADD CONSTRAINT outbox_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'cancel_surplus', 'refund_surplus', 'capture_intent', 'sell_hold',
        'free_booking', 'restore_hold', 'refund', 'keep_places', 'transfer', 'reverse_transfer')),
    DROP CONSTRAINT surplus_is_named,
    ADD CONSTRAINT surplus_is_named CHECK ((act IN ('cancel_surplus', 'refund_surplus')) = (intent_id IS NOT NULL));

ALTER TABLE payment_attempt
    DROP CONSTRAINT attempt_act_is_known,
    ADD CONSTRAINT attempt_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'cancel_surplus', 'refund_surplus', 'capture_intent', 'void_intent',
        'refund', 'transfer', 'reverse_transfer'));

-- Money that Stripe took for a booking and that the booking has no use for: all of it goes back.
CREATE TABLE surplus_payment (
    intent_id   text PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES booking,
    amount      bigint NOT NULL,
    found       timestamptz NOT NULL DEFAULT now(),
    refund_id   text,
    returned    timestamptz,
    CONSTRAINT surplus_is_something CHECK (amount > 0),
    CONSTRAINT surplus_returns_whole CHECK ((returned IS NULL) = (refund_id IS NULL))
);
CREATE INDEX surplus_payment_by_booking ON surplus_payment (booking_id);
CREATE TRIGGER surplus_stays BEFORE UPDATE ON surplus_payment FOR EACH ROW
    WHEN (OLD.returned IS NOT NULL OR (OLD.intent_id, OLD.booking_id, OLD.amount, OLD.found)
                                      IS DISTINCT FROM (NEW.intent_id, NEW.booking_id, NEW.amount, NEW.found))
    EXECUTE FUNCTION refuse();
CREATE TRIGGER surplus_is_kept BEFORE DELETE OR TRUNCATE ON surplus_payment
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

ALTER TABLE mail
    DROP CONSTRAINT mail_kind_is_known,
    ADD CONSTRAINT mail_kind_is_known CHECK (kind IN (
        'confirmed', 'cancelled', 'expired', 'failed', 'refunded', 'returned', 'event_changed', 'invited'));
CREATE FUNCTION mail_of_surplus() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_next_mail(NEW.booking_id, 'returned');
    RETURN NULL;
END $$;
CREATE TRIGGER mail_of_surplus AFTER UPDATE ON surplus_payment FOR EACH ROW
    WHEN (OLD.returned IS NULL AND NEW.returned IS NOT NULL) EXECUTE FUNCTION mail_of_surplus();

-- An account as Stripe's customer, whose cards are saved there and nowhere here.
CREATE TABLE stripe_customer (
    account_id   text PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    attempt      integer NOT NULL DEFAULT 0,
    customer_id  text,
    begun        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_account_per_customer UNIQUE (customer_id)
);
CREATE TRIGGER customer_stays BEFORE UPDATE ON stripe_customer FOR EACH ROW
    WHEN (OLD.customer_id IS DISTINCT FROM NEW.customer_id AND OLD.customer_id IS NOT NULL)
    EXECUTE FUNCTION refuse();

-- What a buyer said about the card, with the booking: to be saved once it has paid.
ALTER TABLE payment ADD COLUMN save_card boolean NOT NULL DEFAULT false;
