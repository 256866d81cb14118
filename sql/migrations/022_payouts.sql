-- Whoever sells through the house and is paid for it: organisations, their venues and accounts at Stripe, what is
-- transferred to them, and what comes back (docs/decisions/021).

CREATE TABLE organisation (
    id              text PRIMARY KEY,
    name            text NOT NULL,
    currency        text NOT NULL,            -- what it is paid in: its events are sold in no other
    hold_back_days  integer NOT NULL,         -- from an event's start until its money is due
    created         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT organisation_id_is_an_id CHECK (id ~ '^[A-Za-z0-9-]{1,64}$'),
    CONSTRAINT organisation_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT organisation_holds_back CHECK (hold_back_days BETWEEN 0 AND 365)
);

-- What we keep of each ticket. A booking is settled by the terms that were good when it was made, so they are only ever
-- added to.
CREATE TABLE organisation_terms (
    organisation_id   text NOT NULL REFERENCES organisation,
    since             timestamptz NOT NULL DEFAULT clock_timestamp(),
    fee_basis_points  integer NOT NULL,       -- hundredths of a percent of the ticket's price
    fee_per_ticket    bigint NOT NULL,        -- minor units; of tickets that cost something
    PRIMARY KEY (organisation_id, since),
    CONSTRAINT terms_are_a_fee CHECK (fee_basis_points BETWEEN 0 AND 10000 AND fee_per_ticket BETWEEN 0 AND 1000000000000)
);

-- Which managers an organisation has; administrators see all.
CREATE TABLE organisation_member (
    organisation_id  text NOT NULL REFERENCES organisation,
    member_id        text NOT NULL REFERENCES staff ON DELETE CASCADE,  -- not staff_id, by which rows name who acts
    PRIMARY KEY (organisation_id, member_id)
);
CREATE INDEX organisation_member_by_staff ON organisation_member (member_id, organisation_id);

CREATE TABLE venue (
    id               text PRIMARY KEY,
    organisation_id  text NOT NULL REFERENCES organisation,
    name             text NOT NULL,
    created          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT venue_id_is_an_id CHECK (id ~ '^[A-Za-z0-9-]{1,64}$')
);
CREATE INDEX venue_by_organisation ON venue (organisation_id, id);

-- An event without a venue of somebody's is the house's own, and its money stays here.
ALTER TABLE event ADD COLUMN venue_id text REFERENCES venue;
CREATE INDEX event_by_venue ON event (venue_id, starts_at, id) WHERE venue_id IS NOT NULL;

-- Whose an event is decides whose its money is: settled before anything is sold, and in one currency.
CREATE FUNCTION event_fits_its_venue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.venue_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM venue v JOIN organisation o ON o.id = v.organisation_id
        WHERE v.id = NEW.venue_id AND o.currency = NEW.currency) THEN
        RAISE EXCEPTION 'event % is sold in another currency than its organisation is paid in', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'event_pays_in_its_currency';
    END IF;
    IF TG_OP = 'UPDATE' AND EXISTS (SELECT FROM booking WHERE event_id = NEW.id AND buyer_name IS NOT NULL) THEN
        RAISE EXCEPTION 'event % has been sold from: whose it is stays', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'event_keeps_its_venue';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER event_made_at_its_venue BEFORE INSERT ON event FOR EACH ROW
    WHEN (NEW.venue_id IS NOT NULL) EXECUTE FUNCTION event_fits_its_venue();
CREATE TRIGGER event_keeps_its_venue BEFORE UPDATE ON event FOR EACH ROW
    WHEN (OLD.venue_id IS DISTINCT FROM NEW.venue_id) EXECUTE FUNCTION event_fits_its_venue();

-- The account at Stripe that an organisation is paid to: as it was when Stripe was last asked.
CREATE TABLE connected_account (
    organisation_id    text PRIMARY KEY REFERENCES organisation,
    country            text NOT NULL,         -- ISO 3166, as it was opened
    attempt            integer NOT NULL DEFAULT 0,  -- of opening it: each has a key of its own at Stripe
    account_id         text,                  -- acct_…, once Stripe has opened it
    details_submitted  boolean NOT NULL DEFAULT false,
    charges_enabled    boolean NOT NULL DEFAULT false,
    payouts_enabled    boolean NOT NULL DEFAULT false,
    transfers_enabled  boolean NOT NULL DEFAULT false,  -- its capability is active
    begun              timestamptz NOT NULL DEFAULT clock_timestamp(),
    looked_at          timestamptz,           -- when Stripe was last asked
    noticed            timestamptz,           -- when Stripe last said that there is something to be asked
    CONSTRAINT one_organisation_per_account UNIQUE (account_id),
    CONSTRAINT account_country_is_iso CHECK (country ~ '^[A-Z]{2}$')
);
CREATE FUNCTION account_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'organisation % has the account %', OLD.organisation_id, OLD.account_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'account_stays';
END $$;
CREATE TRIGGER account_stays BEFORE UPDATE ON connected_account FOR EACH ROW
    WHEN (OLD.account_id IS NOT NULL AND OLD.account_id IS DISTINCT FROM NEW.account_id)
    EXECUTE FUNCTION account_stays();

-- All of it is on record; how often Stripe was asked is nobody's act.
CREATE TRIGGER audit_organisations AFTER INSERT OR UPDATE OR DELETE ON organisation FOR EACH ROW
    EXECUTE FUNCTION audit_rows('organisation', 'id', '', '{}', '{}');
CREATE TRIGGER audit_terms AFTER INSERT OR UPDATE OR DELETE ON organisation_terms FOR EACH ROW
    EXECUTE FUNCTION audit_rows('terms', 'organisation_id', '', '{}', '{}');
CREATE TRIGGER audit_members AFTER INSERT OR UPDATE OR DELETE ON organisation_member FOR EACH ROW
    EXECUTE FUNCTION audit_rows('member', 'organisation_id', '', '{}', '{}');
CREATE TRIGGER audit_venues AFTER INSERT OR UPDATE OR DELETE ON venue FOR EACH ROW
    EXECUTE FUNCTION audit_rows('venue', 'id', '', '{}', '{}');
CREATE TRIGGER audit_accounts AFTER INSERT OR UPDATE OR DELETE ON connected_account FOR EACH ROW
    EXECUTE FUNCTION audit_rows('connected_account', 'organisation_id', '', '{}', '{looked_at,noticed}');
