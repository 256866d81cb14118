-- Refunds, disputes and what becomes of tickets are in the audit trail, in the chain of their event; and a buyer is told
-- of every refund that Stripe took, whatever the booking is afterwards.

CREATE TRIGGER audit_refunds AFTER INSERT OR UPDATE OR DELETE ON refund FOR EACH ROW
    EXECUTE FUNCTION audit_rows('refund', 'id', 'booking_id', '{}', '{looked_at}');
CREATE TRIGGER audit_disputes AFTER INSERT OR UPDATE OR DELETE ON dispute FOR EACH ROW
    EXECUTE FUNCTION audit_rows('dispute', 'id', 'booking_id', '{}', '{looked_at}');

DROP TRIGGER mail_of_moves ON booking;
CREATE TRIGGER mail_of_moves AFTER UPDATE ON booking FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND OLD.state <> 'disputed' AND NEW.buyer_email IS NOT NULL AND NEW.state IN (
        'confirmed', 'cancelled', 'expired', 'failed'))
    EXECUTE FUNCTION mail_of_moves();

CREATE FUNCTION mail_of_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.accepted IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.accepted IS NULL) THEN
        PERFORM write_next_mail(NEW.booking_id, 'refunded');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER mail_of_refunds AFTER INSERT OR UPDATE ON refund FOR EACH ROW EXECUTE FUNCTION mail_of_refunds();
