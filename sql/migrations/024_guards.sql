-- What PostgreSQL let through: first states that no code writes, places that are not where their booking is, rows of
-- another event or currency than their booking's, and copies of Stripe's word that could be edited. And indexes: one that
-- a sweep lacked, one that the daily match lacked, and less of those that nobody reads. What is wrong already stops this
-- migration, and says where.

-- One refusal for all guards that need no thought of their own: the trigger says when, and lends its name.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused by %', lower(TG_OP), TG_TABLE_NAME, TG_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;

-- --- First states

ALTER TABLE booking DROP CONSTRAINT booking_is_whole;
ALTER TABLE booking ADD CONSTRAINT booking_is_whole CHECK (
    num_nonnulls(buyer_name, buyer_email, amount, prices_version, expires_at) = 5
    OR state = 'failed' AND num_nonnulls(buyer_name, buyer_email, amount, prices_version, expires_at) = 0);
CREATE TRIGGER booking_begins_unpaid BEFORE INSERT ON booking FOR EACH ROW
    WHEN (NEW.state <> 'pending_payment' AND (NEW.state <> 'failed' OR NEW.amount IS NOT NULL))
    EXECUTE FUNCTION refuse();

CREATE TRIGGER payment_begins_with_its_booking BEFORE INSERT ON payment FOR EACH ROW
    WHEN (NEW.state <> 'preparing' OR pg_trigger_depth() = 0)
    EXECUTE FUNCTION refuse();

-- --- Places are where their booking is

CREATE TRIGGER seat_begins_claimed BEFORE INSERT ON booking_seat FOR EACH ROW
    WHEN (NEW.state <> 'claimed') EXECUTE FUNCTION refuse();
CREATE TRIGGER place_begins_claimed BEFORE INSERT ON booking_area FOR EACH ROW
    WHEN (NEW.state <> 'claimed') EXECUTE FUNCTION refuse();
CREATE TRIGGER seat_stays_the_same BEFORE UPDATE OF booking_id, event_id, seat_id, type ON booking_seat
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER place_stays_the_same BEFORE UPDATE OF booking_id, event_id, area_id, type ON booking_area
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- Asked of each place that the log below looks at anyway, in the same statement: one of its own would cost far more. SQL,
-- so that PostgreSQL puts it where it is asked.
CREATE FUNCTION place_may_move(was text, is_now text, booking text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN was = is_now THEN true
                WHEN was = 'claimed' AND is_now = 'sold' THEN booking IN ('authorized', 'confirmed')
                WHEN was = 'claimed' AND is_now = 'released' THEN booking IN ('cancelled', 'expired', 'failed')
                WHEN was = 'sold' AND is_now = 'released' THEN booking IN (
                    'confirmed', 'partially_refunded', 'refunded', 'disputed', 'charged_back', 'failed')
                ELSE false END;
$$;
CREATE FUNCTION refuse_place(place text, was text, is_now text, booking text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'place % may not go from % to % while its booking is %', place, was, is_now, booking
        USING ERRCODE = 'check_violation', CONSTRAINT = 'places_follow_their_booking';
END $$;

CREATE OR REPLACE FUNCTION booking_seats_sold_or_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change (event_id, act, seat_id, status, hold_id, holder, booking_id)
    SELECT now_is.event_id, CASE now_is.state WHEN 'sold' THEN 'sell' ELSE 'free' END, now_is.seat_id,
           CASE now_is.state WHEN 'sold' THEN 'sold' ELSE 'available' END, b.hold_id, b.holder, b.id
    FROM now_is
    JOIN was ON was.booking_id = now_is.booking_id AND was.seat_id = now_is.seat_id
    JOIN booking b ON b.id = now_is.booking_id
    WHERE CASE WHEN place_may_move(was.state, now_is.state, b.state)
               THEN was.state <> now_is.state AND 'sold' IN (was.state, now_is.state)
               ELSE refuse_place(now_is.seat_id, was.state, now_is.state, b.state) END
    ORDER BY now_is.seat_id;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION booking_areas_sold_or_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change (event_id, act, area_id, quantity, status, hold_id, holder, booking_id)
    SELECT now_is.event_id,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN 'sell' ELSE 'free' END,
           now_is.area_id,
           CASE WHEN was.state = now_is.state THEN was.quantity - now_is.quantity ELSE now_is.quantity END,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN 'sold' ELSE 'available' END,
           b.hold_id, b.holder, b.id
    FROM now_is
    JOIN was ON was.booking_id = now_is.booking_id AND was.area_id = now_is.area_id AND was.type = now_is.type
    JOIN booking b ON b.id = now_is.booking_id
    WHERE CASE WHEN place_may_move(was.state, now_is.state, b.state)
                    AND (was.quantity = now_is.quantity OR was.quantity > now_is.quantity AND was.state = 'sold')
               THEN 'sold' IN (was.state, now_is.state)
                    AND (was.state <> now_is.state OR was.quantity > now_is.quantity)
               ELSE refuse_place(now_is.area_id, was.state, now_is.state, b.state) END
    ORDER BY now_is.area_id, now_is.type;
    RETURN NULL;
END $$;

CREATE FUNCTION ended_has_no_places() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM booking_seat WHERE booking_id = NEW.id AND state <> 'released')
       OR EXISTS (SELECT FROM booking_area WHERE booking_id = NEW.id AND state <> 'released') THEN
        RAISE EXCEPTION 'booking % is %, and has places', NEW.id, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ended_has_no_places';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ended_has_no_places AFTER UPDATE OF state ON booking
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state IN ('cancelled', 'expired', 'failed'))
    EXECUTE FUNCTION ended_has_no_places();

-- --- Tickets and refunds

CREATE FUNCTION tickets_are_of_a_sale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN booking b ON b.id = added.booking_id
               WHERE added.state <> 'valid' OR added.used_at IS NOT NULL OR added.event_id <> b.event_id
                  OR b.state NOT IN ('confirmed', 'partially_refunded')) THEN
        RAISE EXCEPTION 'a ticket begins valid, for its booking''s event, when that is paid'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'tickets_are_of_a_sale';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tickets_are_of_a_sale AFTER INSERT ON ticket
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION tickets_are_of_a_sale();

CREATE TRIGGER refund_begins_undone BEFORE INSERT ON refund FOR EACH ROW
    WHEN (NEW.state <> 'pending' OR NEW.accepted IS NOT NULL)
    EXECUTE FUNCTION refuse();

-- Stripe takes a refund after it was decided, never with it.
DROP TRIGGER mail_of_refunds ON refund;
CREATE OR REPLACE FUNCTION mail_of_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_next_mail(NEW.booking_id, 'refunded');
    RETURN NULL;
END $$;
CREATE TRIGGER mail_of_refunds AFTER UPDATE ON refund FOR EACH ROW
    WHEN (OLD.accepted IS NULL AND NEW.accepted IS NOT NULL) EXECUTE FUNCTION mail_of_refunds();

-- Of refunds tell their own rows, since 016.
CREATE OR REPLACE FUNCTION mail_of_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mail (booking_id, kind) VALUES (NEW.id, NEW.state) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

-- --- One event, one currency

-- A row that names its booking and its event names the booking's event. One look at the booking says so, and that there
-- is such an event: one less than before.
ALTER TABLE booking ADD CONSTRAINT booking_is_of_one_event UNIQUE (id, event_id);
ALTER TABLE booking_seat
    DROP CONSTRAINT booking_seat_booking_id_fkey,
    DROP CONSTRAINT booking_seat_event_id_fkey,
    ADD FOREIGN KEY (booking_id, event_id) REFERENCES booking (id, event_id);
ALTER TABLE booking_area
    DROP CONSTRAINT booking_area_booking_id_fkey,
    ADD FOREIGN KEY (booking_id, event_id) REFERENCES booking (id, event_id);
-- (That a ticket has a booking says its line; that the event is the booking's, the trigger above.)
ALTER TABLE ticket
    DROP CONSTRAINT ticket_booking_id_fkey,
    DROP CONSTRAINT ticket_event_id_fkey;
ALTER TABLE outbox
    DROP CONSTRAINT outbox_booking_id_fkey,
    DROP CONSTRAINT outbox_event_id_fkey,
    ADD FOREIGN KEY (booking_id, event_id) REFERENCES booking (id, event_id);

ALTER TABLE event ADD CONSTRAINT event_has_one_currency UNIQUE (id, currency);
UPDATE booking b SET currency = e.currency FROM event e WHERE e.id = b.event_id AND b.currency IS NULL;
ALTER TABLE booking
    ALTER COLUMN currency SET NOT NULL,
    DROP CONSTRAINT booking_event_id_fkey,
    ADD CONSTRAINT booking_currency_is_the_events FOREIGN KEY (event_id, currency) REFERENCES event (id, currency);

CREATE OR REPLACE FUNCTION ledger_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong record;
BEGIN
    SELECT sum(debit) <> sum(credit) AS sums INTO wrong
    FROM added GROUP BY transaction, currency
    HAVING sum(debit) <> sum(credit)
        OR currency <> (SELECT b.currency FROM ledger_transaction t JOIN booking b ON b.id = t.booking_id
                        WHERE t.number = added.transaction)
    LIMIT 1;
    IF wrong.sums THEN
        RAISE EXCEPTION 'a ledger transaction does not balance'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balances';
    ELSIF FOUND THEN
        RAISE EXCEPTION 'a ledger transaction is in another currency than its booking'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_currency_is_the_bookings';
    END IF;
    RETURN NULL;
END $$;

ALTER TABLE stripe_transaction ADD CONSTRAINT transaction_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$');

-- --- What Stripe said, and what was tried there, stays

CREATE TRIGGER stripe_transactions_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON stripe_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER attempts_stay BEFORE DELETE OR TRUNCATE ON payment_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- --- Indexes

-- Invitations are swept away, and their mails with them.
CREATE INDEX mail_by_invitation ON mail (invitation_id) WHERE invitation_id IS NOT NULL;
-- Which refunds moved money in a day.
CREATE INDEX refund_by_acceptance ON refund (accepted) WHERE accepted IS NOT NULL;
-- Only claims that nobody paid are searched.
DROP INDEX booking_unfinished;
CREATE INDEX booking_unpaid ON booking (expires_at) WHERE state = 'pending_payment';
-- Nobody but a person ever asks the ledger, seldom, and may wait for it to be read: no sale keeps an index for that. It
-- only grows, so that a summary of its blocks says where a time begins.
DROP INDEX ledger_transaction_by_booking;
DROP INDEX ledger_transaction_by_time;
CREATE INDEX ledger_transaction_by_time ON ledger_transaction USING brin (at) WITH (pages_per_range = 32);
