-- An inquiry takes nothing: while a bank asks, and when it asks no more, the organisation is paid. What is sent again
-- after a bank gave back is what is due then and was not: there may have been no reversal, where the dispute was lost
-- before anything was decided.

CREATE OR REPLACE FUNCTION transfer_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept bigint;
BEGIN
    IF (OLD.booking_id, OLD.event_id, OLD.organisation_id, OLD.created)
       IS DISTINCT FROM (NEW.booking_id, NEW.event_id, NEW.organisation_id, NEW.created)
       OR OLD.state <> 'waiting' AND (OLD.venue, OLD.tax, OLD.fee, OLD.netted, OLD.sent, OLD.account_id, OLD.decided)
          IS DISTINCT FROM (NEW.venue, NEW.tax, NEW.fee, NEW.netted, NEW.sent, NEW.account_id, NEW.decided)
       OR OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
           ('waiting', 'decided'), ('waiting', 'nothing'), ('decided', 'made'))
       OR OLD.stripe_id IS NOT NULL AND OLD.stripe_id IS DISTINCT FROM NEW.stripe_id THEN
        RAISE EXCEPTION 'the transfer of booking % was decided otherwise', OLD.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transfer_stays_as_decided';
    END IF;
    IF OLD.state = 'waiting' AND NEW.sent > 0 THEN
        SELECT b.amount - coalesce((SELECT sum(r.amount - r.owed) FROM refund r
                                    WHERE r.booking_id = b.id
                                      AND (r.state <> 'failed' OR r.accepted IS NOT NULL)), 0)
                        - coalesce((SELECT sum(d.amount) FROM dispute d
                                    WHERE d.booking_id = b.id AND d.state IN ('open', 'lost')), 0)
        INTO kept FROM booking b WHERE b.id = NEW.booking_id;
        IF NEW.sent + NEW.netted + NEW.fee > kept THEN
            RAISE EXCEPTION 'booking % has % left, and % were to be transferred', NEW.booking_id, kept, NEW.sent
                USING ERRCODE = 'check_violation', CONSTRAINT = 'transfer_is_within_capture';
        END IF;
        IF NOT EXISTS (SELECT FROM connected_account
                       WHERE organisation_id = NEW.organisation_id AND account_id = NEW.account_id) THEN
            RAISE EXCEPTION '% is no account of %', NEW.account_id, NEW.organisation_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'transfer_goes_to_its_organisation';
        END IF;
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION again_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    decided bigint;
    kept bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.state <> 'decided'
           OR (OLD.id, OLD.booking_id, OLD.cause, OLD.venue, OLD.tax, OLD.fee, OLD.netted, OLD.sent, OLD.account_id, OLD.key)
              IS DISTINCT FROM
              (NEW.id, NEW.booking_id, NEW.cause, NEW.venue, NEW.tax, NEW.fee, NEW.netted, NEW.sent, NEW.account_id, NEW.key)
        THEN
            RAISE EXCEPTION '% was decided otherwise', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'again_stays_as_decided';
        END IF;
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM dispute d
                   WHERE d.booking_id = NEW.booking_id AND NEW.cause = 'dispute:' || d.id AND d.state = 'won') THEN
        RAISE EXCEPTION 'booking % is sent again what no bank gave back', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'again_is_what_was_given_back';
    END IF;
    SELECT t.venue + t.tax
           - coalesce((SELECT sum(r.venue + r.tax) FROM transfer_reversal r WHERE r.booking_id = t.booking_id), 0)
           + coalesce((SELECT sum(a.venue + a.tax) FROM transfer_again a WHERE a.booking_id = t.booking_id), 0)
    INTO decided FROM transfer t WHERE t.booking_id = NEW.booking_id AND t.state <> 'waiting' FOR UPDATE;
    SELECT b.amount - coalesce((SELECT sum(r.amount - r.owed) FROM refund r
                                WHERE r.booking_id = b.id AND r.accepted IS NOT NULL), 0)
                    - coalesce((SELECT sum(d.amount - d.lost_owed) FROM dispute d
                                WHERE d.booking_id = b.id AND d.state = 'lost'), 0)
    INTO kept FROM booking b WHERE b.id = NEW.booking_id;
    IF decided IS NULL OR decided + NEW.venue + NEW.tax > kept THEN
        RAISE EXCEPTION 'booking % has % left, and % more were to be transferred', NEW.booking_id, kept, NEW.sent
            USING ERRCODE = 'check_violation', CONSTRAINT = 'again_is_within_capture';
    END IF;
    IF NOT EXISTS (SELECT FROM transfer t JOIN connected_account a USING (organisation_id)
                   WHERE t.booking_id = NEW.booking_id AND a.account_id = NEW.account_id) THEN
        RAISE EXCEPTION '% is no account of its organisation', NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'again_goes_to_its_organisation';
    END IF;
    RETURN NEW;
END $$;
