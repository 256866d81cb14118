-- A customer that Stripe has deleted is replaced: which it was stays on record, here and in the audit trail. Money that
-- names a booking which Stripe has no part in goes back.

ALTER TABLE stripe_customer
    ADD COLUMN gone text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT gone_customer_stays_gone CHECK (customer_id <> ALL (gone));
DROP TRIGGER customer_stays ON stripe_customer;
CREATE TRIGGER customer_stays BEFORE UPDATE ON stripe_customer FOR EACH ROW
    WHEN ((OLD.customer_id IS NOT NULL AND OLD.customer_id IS DISTINCT FROM NEW.customer_id OR OLD.gone <> NEW.gone)
          AND NOT (OLD.customer_id IS NOT NULL AND NEW.customer_id IS NULL AND NEW.attempt > OLD.attempt
                   AND NEW.gone = OLD.gone || OLD.customer_id))
    EXECUTE FUNCTION refuse();
CREATE TRIGGER audit_customers AFTER UPDATE ON stripe_customer FOR EACH ROW WHEN (OLD.gone <> NEW.gone)
    EXECUTE FUNCTION audit_rows('stripe_customer', 'account_id', '', '{}', '{}');

-- What was paid at the counter, or cost nothing, has no payment; money at Stripe that names it goes back all the same, and
-- whoever bought there may have left no address.
ALTER TABLE payment_attempt DROP CONSTRAINT payment_attempt_booking_id_fkey;
CREATE OR REPLACE FUNCTION mail_of_surplus() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_next_mail(id, 'returned') FROM booking WHERE id = NEW.booking_id AND buyer_email IS NOT NULL;
    RETURN NULL;
END $$;
