-- A customer that Stripe has deleted is replaced: which it was stays on record, here and in the audit trail.

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
