-- The whole schema of PostgreSQL, as all of sql/migrations/ leave it: written to be read.
--
-- Nobody runs this file but a test (tests/infra/test_schema.py), which builds it beside a migrated schema and compares the
-- two, object by object, and whoever would like to look at it empty (`psql -v ON_ERROR_STOP=1 -f sql/schema.sql`). A
-- database that is to last comes from the migrations: their runner keeps the table `migration` (sql/migration.sql), which
-- says what has landed. What migrations did to rows that were there is not told here; rows that they put in for good are.
--
-- How it is changed: by a new migration, and here, in the section where the new thing belongs, as if it had always been so
-- (no ALTER, no DROP). Each table has a sentence; each value of a state, each named constraint and each index says what it
-- prevents, or who asks for it. What is missing here, or is otherwise, the test names.
--
-- Not here: who may do what. The server signs in as a role that owns nothing and is granted, table by table and column
-- by column, what its statements need (lml_live/infra/rights.py, docs/decisions/019). Of what is "only ever added to" it
-- may neither UPDATE nor DELETE anything; the triggers below refuse the owner as well.
--
-- Everywhere: our own ids are opaque text of [A-Za-z0-9-]{1,64}. Money is whole minor units (bigint) with its currency in
-- the same row, or in that of the booking or event which the row belongs to. Times are timestamptz. A state is text with a
-- CHECK that names its values.
--
--    1  the house: staff, partners, organisations   7  the ledger, and Stripe's account of the same money
--    2  events: prices, areas, channels             8  the outbox, and Stripe's notices
--    3  blocks, and holds for customers             9  buyers' accounts
--    4  bookings: moves, lines, seats, places      10  e-mail
--    5  payments: moves, attempts                  11  requests that are sent again
--    6  refunds, disputes, tickets                 12  who did what: status changes, the audit trail
--                                                  13  what organisations are paid (who they are: 1)


-- Refuses a row, for all guards that need no thought of their own: the trigger says when, and lends its name.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused by %', lower(TG_OP), TG_TABLE_NAME, TG_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;


-- === 1. The house: who serves, who works here, who sells for us ======================================================

-- One row: what all servers of a house share.
CREATE TABLE house (
    only_one  boolean PRIMARY KEY DEFAULT true,
    secret    bytea NOT NULL,                 -- signs holder tokens
    created   timestamptz NOT NULL DEFAULT now(),
    -- Two secrets, and half of the tokens would be refused.
    CONSTRAINT house_is_one_row CHECK (only_one),
    -- A short one can be guessed, and then anybody is anybody.
    CONSTRAINT house_secret_is_long CHECK (octet_length(secret) >= 32)
);

-- Who works here.
CREATE TABLE staff (
    id             text PRIMARY KEY,
    email          text NOT NULL,             -- lower case
    password_hash  text NOT NULL,             -- argon2id
    roles          text[] NOT NULL,
    created        timestamptz NOT NULL DEFAULT now(),
    -- Who signs in with an address is one person.
    CONSTRAINT one_staff_per_email UNIQUE (email),
    -- In two spellings an address could be there twice.
    CONSTRAINT staff_email_is_lower_case CHECK (email = lower(email)),
    -- No role that no code knows, and nobody without one:
    --   box_office: counter and door; manager: layouts, events, blocks; admin: everything, staff and partners included.
    CONSTRAINT staff_roles_are_known CHECK (roles <@ ARRAY['box_office', 'manager', 'admin'] AND cardinality(roles) > 0)
);

-- Who of them is signed in.
CREATE TABLE staff_session (
    token_hash  bytea PRIMARY KEY,            -- SHA-256 of the token: a stolen table signs nobody in
    staff_id    text NOT NULL REFERENCES staff ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL,
    created     timestamptz NOT NULL DEFAULT now()
);
-- Ended ones are swept away.
CREATE INDEX staff_session_by_end ON staff_session (expires_at);

-- How often somebody, of the staff or a buyer, tried to sign in lately, by e-mail address and by network address; all
-- workers count together, so that passwords are not guessed worker by worker.
CREATE TABLE sign_in_attempt (
    subject   bytea PRIMARY KEY,              -- SHA-256 of `email …` or `address …`: no list of who tried
    attempts  integer NOT NULL,
    since     timestamptz NOT NULL DEFAULT now()
);
-- Those whose window is over are swept away.
CREATE INDEX sign_in_attempt_by_age ON sign_in_attempt (since);

-- Who sells for us elsewhere, each through a channel of that name in the events that have one.
CREATE TABLE partner (
    id        text PRIMARY KEY,
    name      text NOT NULL,
    channel   text NOT NULL,
    key_hash  bytea NOT NULL,                 -- SHA-256 of the API key: a stolen table sells nothing
    created   timestamptz NOT NULL DEFAULT now(),
    ended     timestamptz,                    -- the key is good no more
    -- A key stands for one partner; also how it is found.
    CONSTRAINT one_partner_per_key UNIQUE (key_hash),
    -- It stands in addresses and in the names of views.
    CONSTRAINT partner_channel_is_an_id CHECK (channel ~ '^[A-Za-z0-9-]{1,64}$'),
    -- A partner sells neither from our own channels nor under a name that means all of them.
    CONSTRAINT partner_channel_is_not_ours CHECK (channel NOT IN ('web', 'box-office', 'open', 'public', 'staff'))
);

-- Whoever sells through the house, and is paid for it (docs/decisions/021).
CREATE TABLE organisation (
    id              text PRIMARY KEY,
    name            text NOT NULL,
    currency        text NOT NULL,            -- what it is paid in: its events are sold in no other
    hold_back_days  integer NOT NULL,         -- from an event's start until its money is due
    created         timestamptz NOT NULL DEFAULT now(),
    -- It stands in addresses, and at the head of keys at Stripe.
    CONSTRAINT organisation_id_is_an_id CHECK (id ~ '^[A-Za-z0-9-]{1,64}$'),
    -- No amount whose currency nobody could say.
    CONSTRAINT organisation_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$'),
    -- A year is a typing error; below 0 money would be sent before the event.
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
    -- Not more than the whole price, and not the other way round.
    CONSTRAINT terms_are_a_fee CHECK (fee_basis_points BETWEEN 0 AND 10000 AND fee_per_ticket BETWEEN 0 AND 1000000000000)
);

-- Which managers an organisation has; administrators see all.
CREATE TABLE organisation_member (
    organisation_id  text NOT NULL REFERENCES organisation,
    member_id        text NOT NULL REFERENCES staff ON DELETE CASCADE,  -- not staff_id, by which rows name who acts
    PRIMARY KEY (organisation_id, member_id)
);
-- A manager's own.
CREATE INDEX organisation_member_by_staff ON organisation_member (member_id, organisation_id);

-- A place of an organisation's: what is sold at it is the organisation's.
CREATE TABLE venue (
    id               text PRIMARY KEY,
    organisation_id  text NOT NULL REFERENCES organisation,
    name             text NOT NULL,
    created          timestamptz NOT NULL DEFAULT now(),
    -- It stands in addresses.
    CONSTRAINT venue_id_is_an_id CHECK (id ~ '^[A-Za-z0-9-]{1,64}$')
);
-- The list of an organisation.
CREATE INDEX venue_by_organisation ON venue (organisation_id, id);

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
    payouts_looked_at  timestamptz,           -- when Stripe was last asked what of it went to its bank
    -- Two organisations' money would go one way.
    CONSTRAINT one_organisation_per_account UNIQUE (account_id),
    -- What is of an account is of its organisation; payouts refer to both.
    CONSTRAINT account_is_its_organisations UNIQUE (organisation_id, account_id),
    -- Stripe opens none elsewhere.
    CONSTRAINT account_country_is_iso CHECK (country ~ '^[A-Z]{2}$')
);
-- An account is opened once, and stays.
CREATE FUNCTION account_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'organisation % has the account %', OLD.organisation_id, OLD.account_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'account_stays';
END $$;
CREATE TRIGGER account_stays BEFORE UPDATE ON connected_account FOR EACH ROW
    WHEN (OLD.account_id IS NOT NULL AND OLD.account_id IS DISTINCT FROM NEW.account_id)
    EXECUTE FUNCTION account_stays();


-- === 2. Events: what is sold, at which price, to whom ================================================================

-- One performance, sold on one version of a layout (which is MongoDB's): its rules, its sales state, and which inventory
-- in Redis is the valid one.
CREATE TABLE event (
    id                      text PRIMARY KEY,
    number                  bigint GENERATED ALWAYS AS IDENTITY,  -- short, stands at the head of every hold id
    group_id                text NOT NULL,             -- events that can change in one step; an event keeps its for ever
    name                    text NOT NULL,
    venue                   text NOT NULL,             -- its name, as buyers read it
    venue_id                text REFERENCES venue,     -- whose it is; NULL: the house's own, whose money stays here
    starts_at               timestamptz NOT NULL,
    on_sale_at              timestamptz NOT NULL,
    state                   text NOT NULL DEFAULT 'draft',
    currency                text NOT NULL,             -- of its prices, and so of its bookings
    layout_id               text NOT NULL,
    layout_version          integer NOT NULL,
    layout_hash             text NOT NULL,
    seat_count              integer NOT NULL,
    -- Limits; all are published with the event.
    max_seats               integer NOT NULL,          -- in one hold
    hold_seconds            integer NOT NULL,
    extensions              integer NOT NULL,
    lifetime_seconds        integer NOT NULL,          -- of a hold, with all its extensions
    orphan_rule             text NOT NULL DEFAULT 'off',
    -- Limits against those who keep seats from others; 0 switches one of them off.
    expired_holds           integer NOT NULL DEFAULT 3,    -- holds a holder may let expire before a pause
    cooldown_seconds        integer NOT NULL DEFAULT 120,  -- the first pause; each further expired hold doubles it
    rehold_seconds          integer NOT NULL DEFAULT 60,   -- how long a seat is not given to the holder who lost it
    release_jitter_seconds  integer NOT NULL DEFAULT 0,    -- an expired hold's seats come back within so long
    address_holds           integer NOT NULL DEFAULT 100,  -- live holds of one network address
    address_seats           integer NOT NULL DEFAULT 500,  -- seats and places in them
    tick_ms                 integer,                   -- how often changes are sent; NULL: the server's setting
    -- What Redis and clients compare.
    revision                bigint NOT NULL DEFAULT 1,  -- rises with state, on-sale time, limits, channels; in the book's stamp
    prices_version          bigint NOT NULL DEFAULT 1,
    epoch                   bigint NOT NULL DEFAULT 0,  -- 0: no inventory was ever built; only adopt raises it
    redis_run_id            text,                      -- the Redis process that this epoch lives in
    created                 timestamptz NOT NULL DEFAULT now(),
    -- Two events under one number would mix up their hold ids and their advisory locks.
    CONSTRAINT event_number_is_unique UNIQUE (number),
    -- What a booking's currency is held against.
    CONSTRAINT event_has_one_currency UNIQUE (id, currency),
    -- They stand in addresses, Redis keys and hash tags.
    CONSTRAINT event_id_is_an_id CHECK (id ~ '^[A-Za-z0-9-]{1,64}$'),
    CONSTRAINT event_group_is_an_id CHECK (group_id ~ '^[A-Za-z0-9-]{1,64}$'),  -- As above.
    CONSTRAINT event_state_is_known CHECK (state IN (
        'draft',      -- nobody sees it but staff
        'open',       -- sells, from on_sale_at on
        'paused',     -- no new holds and bookings; checkouts finish
        'closed')),   -- holds are released; checkouts finish
    -- No amount whose currency nobody could say.
    CONSTRAINT event_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$'),
    -- A hold that outlives its lifetime, or a basket larger than one Lua step may look at (limits.py).
    CONSTRAINT event_limits_agree CHECK (
        max_seats BETWEEN 1 AND 50 AND hold_seconds BETWEEN 1 AND 86400 AND extensions BETWEEN 0 AND 20
        AND lifetime_seconds BETWEEN hold_seconds AND 604800),
    CONSTRAINT event_orphan_rule_is_known CHECK (orphan_rule IN (
        'off',        -- a hold may leave a single seat alone between taken seats and aisles
        'strict',     -- it never may
        'lenient')),  -- it may where the row offers nothing else
    -- A negative limit would refuse everybody, or nobody.
    CONSTRAINT event_fair_limits_are_counts CHECK (
        least(expired_holds, cooldown_seconds, rehold_seconds, release_jitter_seconds, address_holds, address_seats) >= 0)
);
-- The list of events, page by page.
CREATE INDEX event_by_start ON event (starts_at, id);
-- An organisation's, for its statement and for what is due.
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
-- The events of a group are listed whenever one choice is made for a season.
CREATE INDEX event_by_group ON event (group_id, starts_at, id);

-- What a place of a category costs, for each type of ticket; in the event's currency.
CREATE TABLE event_price (
    event_id  text NOT NULL REFERENCES event ON DELETE CASCADE,
    category  text NOT NULL,
    type      text NOT NULL,
    label     text NOT NULL,
    amount    bigint NOT NULL,                -- minor units, fee not included, tax included
    fee       bigint NOT NULL,                -- minor units, tax included
    tax_rate  numeric(5, 2) NOT NULL,         -- percent contained in amount and fee
    position  integer NOT NULL,
    -- A place has no two prices.
    CONSTRAINT one_price_per_category_and_type PRIMARY KEY (event_id, category, type),
    -- Nothing is sold for less than nothing, and no basket's sum leaves what JSON can carry exactly.
    CONSTRAINT price_is_an_amount CHECK (amount BETWEEN 0 AND 1000000000000 AND fee BETWEEN 0 AND 1000000000000),
    -- A contained tax of all the price, or more, leaves nothing to be taxed.
    CONSTRAINT price_tax_is_a_rate CHECK (tax_rate >= 0 AND tax_rate < 100)
);

-- The standing areas of an event, each with the counter that keeps it from being oversold, whatever Redis says.
CREATE TABLE event_area (
    event_id  text NOT NULL REFERENCES event ON DELETE CASCADE,
    area_id   text NOT NULL,
    name      text NOT NULL,
    category  text NOT NULL,
    capacity  integer NOT NULL,
    position  integer NOT NULL,
    taken     integer NOT NULL DEFAULT 0,     -- places of bookings that are claimed or sold
    PRIMARY KEY (event_id, area_id),
    -- An area for nobody is a mistake in a layout.
    CONSTRAINT area_has_room CHECK (capacity > 0),
    -- The last guard against selling more places than there are; below 0, places were given back twice.
    CONSTRAINT area_is_never_oversold CHECK (taken BETWEEN 0 AND capacity)
);

-- Sales channels: what of an event only the web, the box office or a partner sells, until it opens to all.
CREATE TABLE event_channel (
    event_id   text NOT NULL REFERENCES event ON DELETE CASCADE,
    name       text NOT NULL,
    number     smallint NOT NULL,             -- stands in the inventory's bytes; never given to another channel
    opens_at   timestamptz,                   -- from when its allotment sells to all; NULL: until staff open it
    opened_at  timestamptz,                   -- when that was; NULL: it is the channel's own
    told_at    timestamptz,                   -- when the inventory had all of it; NULL: to be told, again if need be
    staff_id   text NOT NULL,                 -- who planned it, and why: a timed opening is theirs
    reason     text NOT NULL,
    created    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, name),
    -- A seat's byte names one channel.
    CONSTRAINT one_channel_per_number UNIQUE (event_id, number),
    -- Five bits of that byte, of which 0 means that all sell it.
    CONSTRAINT channel_number_fits CHECK (number BETWEEN 1 AND 31),
    -- It stands in addresses and in the names of views.
    CONSTRAINT channel_name_is_an_id CHECK (name ~ '^[A-Za-z0-9-]{1,64}$'),
    -- What views and allotments are called that are no channel's.
    CONSTRAINT channel_name_is_free CHECK (name NOT IN ('open', 'public', 'staff')),
    -- The inventory cannot have heard of what has not happened.
    CONSTRAINT channel_is_told_when_open CHECK (told_at IS NULL OR opened_at IS NOT NULL)
);
-- What is to be opened, or to be told: looked for every second, so it holds nothing else.
CREATE INDEX event_channel_due ON event_channel (opens_at)
    WHERE opens_at IS NOT NULL AND opened_at IS NULL OR opened_at IS NOT NULL AND told_at IS NULL;

-- Which channel a seat belongs to; without a row all sell it. Written before Redis; adopt lays it over the inventory.
CREATE TABLE seat_channel (
    event_id  text NOT NULL,
    seat_id   text NOT NULL,
    channel   smallint NOT NULL,
    PRIMARY KEY (event_id, seat_id),
    FOREIGN KEY (event_id, channel) REFERENCES event_channel (event_id, number) ON DELETE CASCADE
);
-- All seats of a channel, when it opens.
CREATE INDEX seat_channel_by_channel ON seat_channel (event_id, channel);

-- How many places of an area a channel may count on; what it holds and sold counts as these first.
CREATE TABLE area_channel (
    event_id  text NOT NULL,
    area_id   text NOT NULL,
    channel   smallint NOT NULL,
    places    integer NOT NULL,
    PRIMARY KEY (event_id, area_id, channel),
    FOREIGN KEY (event_id, area_id) REFERENCES event_area ON DELETE CASCADE,
    FOREIGN KEY (event_id, channel) REFERENCES event_channel (event_id, number) ON DELETE CASCADE,
    -- An allotment of nothing has no row.
    CONSTRAINT area_channel_is_something CHECK (places > 0)
);


-- === 3. What staff take off sale, or hold for somebody ===============================================================

-- Seats off sale. Written before Redis; adopt lays it over the inventory.
CREATE TABLE seat_block (
    event_id  text NOT NULL REFERENCES event ON DELETE CASCADE,
    seat_id   text NOT NULL,
    kind      text NOT NULL,
    reason    text NOT NULL,
    staff_id  text NOT NULL,
    created   timestamptz NOT NULL DEFAULT now(),
    -- A seat is blocked once, for one reason.
    PRIMARY KEY (event_id, seat_id),
    CONSTRAINT seat_block_kind_is_known CHECK (kind IN (
        'house',    -- staff may sell from it
        'kill'))    -- nobody may: a broken seat, a camera
);

-- Places of areas off sale, counted; of both kinds side by side.
CREATE TABLE area_block (
    event_id  text NOT NULL,
    area_id   text NOT NULL,
    kind      text NOT NULL,
    quantity  integer NOT NULL,
    reason    text NOT NULL,
    staff_id  text NOT NULL,
    created   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, area_id, kind),
    FOREIGN KEY (event_id, area_id) REFERENCES event_area ON DELETE CASCADE,
    CONSTRAINT area_block_kind_is_known CHECK (kind IN ('house', 'kill')),  -- As for seats.
    -- A block of nothing has no row.
    CONSTRAINT area_block_is_something CHECK (quantity > 0)
);

-- Blocks of places that were counted already: a request that is sent again with its key must not count twice.
CREATE TABLE area_block_request (
    event_id  text NOT NULL,
    request   text NOT NULL,                  -- names the caller's request and all its repetitions
    area_id   text NOT NULL,
    kind      text NOT NULL,
    change    integer NOT NULL,               -- places taken off sale; negative: put back
    created   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, request, area_id),
    FOREIGN KEY (event_id, area_id) REFERENCES event_area ON DELETE CASCADE,
    CONSTRAINT area_block_request_kind_is_known CHECK (kind IN ('house', 'kill')),  -- As for seats.
    -- What changed nothing needs no remembering.
    CONSTRAINT area_block_request_changes_something CHECK (change <> 0)
);

-- Holders that the box office made for its customers. Staff hold seats for these only, never in a browser's name.
CREATE TABLE customer (
    holder    text PRIMARY KEY,
    staff_id  text NOT NULL,
    created   timestamptz NOT NULL DEFAULT now(),
    -- A holder like any other, in tokens and Redis.
    CONSTRAINT customer_holder_is_an_id CHECK (holder ~ '^[A-Za-z0-9-]{1,64}$')
);

-- A hold of the box office for a customer, without a deadline: adopt lays it over the inventory, so that it outlives
-- all that Redis holds. From the claim on, its booking decides what becomes of it.
CREATE TABLE staff_hold (
    hold_id          text PRIMARY KEY,
    event_id         text NOT NULL REFERENCES event ON DELETE CASCADE,
    holder           text NOT NULL REFERENCES customer,
    customer         text NOT NULL,           -- the customer's name, as the clerk wrote it
    reason           text NOT NULL,
    staff_id         text NOT NULL,
    state            text NOT NULL DEFAULT 'taking',
    seat_ids         text[] NOT NULL,
    seat_types       text[] NOT NULL,
    area_ids         text[] NOT NULL,
    area_types       text[] NOT NULL,
    area_quantities  integer[] NOT NULL,
    created          timestamptz NOT NULL DEFAULT now(),
    channel          smallint,                -- what it was taken through, 0 for none; null until it is held
    asked            timestamptz NOT NULL DEFAULT now(),  -- when the inventory was last to be asked: the note's number
    CONSTRAINT staff_hold_state_is_known CHECK (state IN (
        'taking',   -- asked of the inventory, whose answer is not on record yet: nobody was told that it is held
        'held',     -- it is the customer's, whatever Redis says
        'ended')),  -- released
    -- A seat without its type, an area without its number, or a hold of nothing.
    CONSTRAINT staff_hold_is_whole CHECK (
        cardinality(seat_ids) = cardinality(seat_types) AND cardinality(area_ids) = cardinality(area_types)
        AND cardinality(area_ids) = cardinality(area_quantities) AND cardinality(seat_ids) + cardinality(area_ids) > 0)
);
-- Only live ones are listed and laid over an inventory.
CREATE INDEX staff_hold_live ON staff_hold (event_id, created, hold_id) WHERE state <> 'ended';
-- And only those of which nobody knows are looked after.
CREATE INDEX staff_hold_taking ON staff_hold (asked) WHERE state = 'taking';

-- A move or release of anybody's hold by staff, noted before the inventory is asked: it leaves what it did in the book under
-- this number, and whoever has the event's next turn puts it on record, should the worker die (lua/include/acts.lua).
CREATE TABLE staff_act (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the inventory does nothing older than its latest
    request     text NOT NULL,                -- names the request: its repetition is answered, and not done again
    event_id    text NOT NULL REFERENCES event ON DELETE CASCADE,
    epoch       bigint NOT NULL,              -- the only one in which it may be done
    act         text NOT NULL,
    hold_id     text NOT NULL,
    over_house  boolean NOT NULL,             -- a move may use up what the house keeps back
    staff_id    text NOT NULL,
    reason      text NOT NULL,
    state       text NOT NULL DEFAULT 'begun',
    created     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_act_per_request UNIQUE (request),   -- two workers with one request do it once
    CONSTRAINT staff_act_is_known CHECK (act IN ('move', 'release')),  -- one that nobody knows how to put on record
    CONSTRAINT staff_act_state_is_known CHECK (state IN (
        'begun',    -- nobody knows whether it was done
        'done'))    -- it is on record
);
-- What is begun is settled in order; there are seldom any.
CREATE INDEX staff_act_begun ON staff_act (event_id, number) WHERE state = 'begun';
-- What is long done is forgotten.
CREATE INDEX staff_act_done ON staff_act (created) WHERE state = 'done';


-- === 4. Bookings: what a hold becomes at checkout ====================================================================

-- Which moves of a booking are legal. lml_live/booking/states.py has the same table; a test compares the two.
CREATE TABLE booking_move (
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);
INSERT INTO booking_move (from_state, to_state) VALUES
    -- cancelled, expired and failed at once where no charge can have begun: the create was never sent, or refused.
    ('pending_payment', 'authorized'), ('pending_payment', 'confirmed'), ('pending_payment', 'cancelling'),
    ('pending_payment', 'expiring'), ('pending_payment', 'cancelled'), ('pending_payment', 'expired'),
    ('pending_payment', 'failed'),
    -- The charge may have won the race against the cancel.
    ('cancelling', 'authorized'), ('cancelling', 'confirmed'), ('cancelling', 'cancelled'),
    ('expiring', 'authorized'), ('expiring', 'confirmed'), ('expiring', 'expired'),
    -- failed: the capture was refused for good; nothing was charged.
    ('authorized', 'confirmed'), ('authorized', 'failed'),
    ('confirmed', 'partially_refunded'), ('confirmed', 'refunded'), ('confirmed', 'disputed'),
    ('partially_refunded', 'refunded'), ('partially_refunded', 'disputed'),
    -- Won, it is what its refunds have made of it.
    ('disputed', 'confirmed'), ('disputed', 'partially_refunded'), ('disputed', 'refunded'), ('disputed', 'charged_back'),
    -- For the rest of it; or the bank gives back what it took.
    ('charged_back', 'disputed');

-- The durable claim, later the sale. A row without a buyer is a refused checkout: it only keeps its id from ever becoming
-- a claim. What it is of and what it costs is never changed; whose it is, only by a hand-over (section 9).
CREATE TABLE booking (
    id              text PRIMARY KEY,
    event_id        text NOT NULL,
    hold_id         text NOT NULL,
    holder          text NOT NULL,
    epoch           bigint NOT NULL,          -- the fence: the inventory's epoch when the hold was marked
    channel         smallint NOT NULL DEFAULT 0,  -- through which it was sold: its number in the event; 0: none of its own
    state           text NOT NULL,
    buyer_name      text,
    buyer_email     text,                     -- at the counter: where they gave one
    amount          bigint,                   -- minor units, all lines, fees included
    currency        text NOT NULL,            -- the event's
    prices_version  bigint,                   -- the price list that was shown
    expires_at      timestamptz,              -- when an unpaid claim begins to be given up
    hold_created    timestamptz NOT NULL,     -- the hold's, so that it can be given back as it was
    lifetime_end    timestamptz NOT NULL,
    origin          text,                     -- from where it was made: stands for a network address
    tender          text,                     -- sold at the counter for this; NULL: paid for at Stripe, or free
    staff_id        text,                     -- … by whom
    reason          text,                     -- … and why, where that was said
    created         timestamptz NOT NULL DEFAULT now(),
    changed         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT booking_state_is_known CHECK (state IN (
        'pending_payment',     -- claimed; the charge is not decided
        'authorized',          -- the money is reserved, the seats are sold; to be captured
        'confirmed',           -- captured, or nothing was due
        'partially_refunded',  -- a part of the money went back
        'refunded',            -- all of it did; its places are on sale again
        'disputed',            -- the buyer's bank asks for it back; the seats stay, the tickets are flagged
        'charged_back',        -- the bank got it
        'cancelling',          -- the buyer wants out; Stripe has not said yet that it cannot be charged
        'cancelled',           -- it has: its places are free
        'expiring',            -- not paid in time; as cancelling
        'expired',             -- it has, as of cancelled
        'failed')),            -- refused at the claim, by Stripe, or at the capture; nothing was charged
    -- Sums beyond what JSON can carry exactly, and negative ones.
    CONSTRAINT booking_amount_is_an_amount CHECK (amount BETWEEN 0 AND 9007199254740991),
    -- A claim of nobody, at no price, or that never ends; and a refused checkout that is half a claim.
    CONSTRAINT booking_is_whole CHECK (
        num_nonnulls(buyer_name, buyer_email, amount, prices_version, expires_at) = 5
        OR num_nonnulls(buyer_name, tender, amount, prices_version, expires_at) = 5
        OR state = 'failed' AND num_nonnulls(buyer_name, buyer_email, amount, prices_version, expires_at) = 0),
    CONSTRAINT booking_tender_is_known CHECK (tender IN (
        'cash',             -- in the drawer
        'card_terminal',    -- at the counter's own terminal, whose provider owes it
        'comp')),           -- given away: what it would have cost is a comp_line's
    -- A counter sale of nobody's, and a clerk's name or reason on a sale that was none of theirs.
    CONSTRAINT counter_sale_has_a_clerk CHECK (
        (tender IS NULL) = (staff_id IS NULL) AND (reason IS NULL OR tender IS NOT NULL)),
    -- What is given away costs nothing.
    CONSTRAINT comp_costs_nothing CHECK (tender <> 'comp' OR amount = 0),
    -- What was taken at the counter waits for no charge, ends in none, and no bank takes it back.
    CONSTRAINT counter_sale_is_paid_at_once CHECK (
        tender IS NULL OR state IN ('pending_payment', 'confirmed', 'partially_refunded', 'refunded')),
    -- What its places, its tickets and its work are held against: they are of its event.
    CONSTRAINT booking_is_of_one_event UNIQUE (id, event_id),
    -- Money of a currency that the event does not sell in; and a booking of no event.
    CONSTRAINT booking_currency_is_the_events FOREIGN KEY (event_id, currency) REFERENCES event (id, currency)
);
-- An event's bookings: who bought is told of another time or place.
CREATE INDEX booking_by_event ON booking (event_id, created, id);
-- A holder's own, the newest first.
CREATE INDEX booking_by_holder ON booking (holder, created DESC, id);
-- Whether a staff hold became a booking is asked by its id.
CREATE INDEX booking_by_hold ON booking (hold_id);
-- What is to be given up; all else, which is nearly all, is not searched for it.
CREATE INDEX booking_unpaid ON booking (expires_at) WHERE state = 'pending_payment';

-- A booking begins unpaid, or as a refused checkout: it comes to anything else by moves.
CREATE TRIGGER booking_begins_unpaid BEFORE INSERT ON booking FOR EACH ROW
    WHEN (NEW.state <> 'pending_payment' AND (NEW.state <> 'failed' OR NEW.amount IS NOT NULL))
    EXECUTE FUNCTION refuse();

-- A counter sale is made and paid in one transaction; asked at the commit. Nothing would ever end one that waits.
CREATE FUNCTION counter_sale_is_sold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM booking WHERE id = NEW.id AND state = 'pending_payment') THEN
        RAISE EXCEPTION 'booking % was sold at the counter, and is not paid', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'counter_sale_is_sold';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER counter_sale_is_sold AFTER INSERT ON booking
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.tender IS NOT NULL)
    EXECUTE FUNCTION counter_sale_is_sold();

-- What was bought, place by place, at the price that was shown; minor units of the booking's currency.
CREATE TABLE booking_line (
    booking_id  text NOT NULL REFERENCES booking,
    line        integer NOT NULL,
    seat_id     text,
    area_id     text,
    type        text NOT NULL,
    amount      bigint NOT NULL,              -- fee not included, tax included
    fee         bigint NOT NULL,              -- tax included
    tax         bigint NOT NULL,              -- what of both is tax
    PRIMARY KEY (booking_id, line),
    -- A line that is of no place, or of two.
    CONSTRAINT line_is_a_seat_or_a_place CHECK (num_nonnulls(seat_id, area_id) = 1),
    -- Negative money, and more tax than there is price.
    CONSTRAINT line_is_an_amount CHECK (amount >= 0 AND fee >= 0 AND tax BETWEEN 0 AND amount + fee)
);

-- What the places of a booking that was given away would have cost: forgone, and no money of anybody's, so that the ledger
-- has none of it. Only ever added to; minor units of the booking's currency.
CREATE TABLE comp_line (
    booking_id  text NOT NULL,
    line        integer NOT NULL,
    amount      bigint NOT NULL,              -- as of a booking's line
    fee         bigint NOT NULL,
    tax         bigint NOT NULL,
    PRIMARY KEY (booking_id, line),
    FOREIGN KEY (booking_id, line) REFERENCES booking_line,
    CONSTRAINT comp_line_is_an_amount CHECK (amount >= 0 AND fee >= 0 AND tax BETWEEN 0 AND amount + fee)  -- As of lines.
);
-- Nothing is forgone of what was paid.
CREATE FUNCTION comp_lines_are_of_comps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN booking b ON b.id = added.booking_id WHERE b.tender IS DISTINCT FROM 'comp') THEN
        RAISE EXCEPTION 'only what is given away forgoes its price'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'comp_lines_are_of_comps';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER comp_lines_are_of_comps AFTER INSERT ON comp_line
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION comp_lines_are_of_comps();
CREATE TRIGGER comp_lines_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON comp_line
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- The seats of bookings.
CREATE TABLE booking_seat (
    booking_id  text NOT NULL,
    event_id    text NOT NULL,
    seat_id     text NOT NULL,
    type        text NOT NULL,
    state       text NOT NULL,
    PRIMARY KEY (booking_id, seat_id),
    FOREIGN KEY (booking_id, event_id) REFERENCES booking (id, event_id),
    CONSTRAINT booking_seat_state_is_known CHECK (state IN (
        'claimed',      -- the booking's, whether it is paid or not
        'sold',
        'released'))    -- the booking ended unsold, or its line was refunded: the seat is not the booking's any more
);
-- The last guard against a double sale: one live claim or sale per event and seat. Released ones may be many.
CREATE UNIQUE INDEX one_sale_per_seat ON booking_seat (event_id, seat_id) WHERE state IN ('claimed', 'sold');

-- The places of bookings in standing areas; event_area.taken counts those that are not released.
CREATE TABLE booking_area (
    booking_id  text NOT NULL,
    event_id    text NOT NULL,
    area_id     text NOT NULL,
    type        text NOT NULL,
    quantity    integer NOT NULL,             -- falls where a part goes back
    state       text NOT NULL,
    PRIMARY KEY (booking_id, area_id, type),
    FOREIGN KEY (booking_id, event_id) REFERENCES booking (id, event_id),
    FOREIGN KEY (event_id, area_id) REFERENCES event_area,
    -- A claim of no place, or one that would free places of others.
    CONSTRAINT booking_area_is_something CHECK (quantity > 0),
    CONSTRAINT booking_area_state_is_known CHECK (state IN ('claimed', 'sold', 'released'))  -- As for seats.
);
-- Adopt reads what is claimed or sold of an event; what was released is history.
CREATE INDEX booking_area_live ON booking_area (event_id, area_id) WHERE state IN ('claimed', 'sold');

-- Places begin claimed.
CREATE TRIGGER seat_begins_claimed BEFORE INSERT ON booking_seat FOR EACH ROW
    WHEN (NEW.state <> 'claimed') EXECUTE FUNCTION refuse();
CREATE TRIGGER place_begins_claimed BEFORE INSERT ON booking_area FOR EACH ROW
    WHEN (NEW.state <> 'claimed') EXECUTE FUNCTION refuse();
-- They stay the same place of the same booking. How they move the triggers say that log it (section 12).
CREATE TRIGGER seat_stays_the_same BEFORE UPDATE OF booking_id, event_id, seat_id, type ON booking_seat
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER place_stays_the_same BEFORE UPDATE OF booking_id, event_id, area_id, type ON booking_area
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- What has ended unsold keeps no place; asked at the commit, for the booking moves first and its places follow.
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

-- Every change of a booking's state, with who did it: written by the trigger below, only ever added to (section 12), and
-- a part of the audit trail.
CREATE TABLE booking_history (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES booking,
    event_id    text NOT NULL,
    from_state  text,                         -- NULL: it was made
    to_state    text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_kind  text,
    actor_id    text,
    reason      text,                         -- what its payment was then; of a counter sale, what it was sold for
    origin      text,                         -- stands for a network address
    worker      text DEFAULT current_setting('application_name', true),  -- the program that was connected
    CONSTRAINT history_actor_is_known CHECK (actor_kind IN (
        'holder',    -- who holds, and buys
        'staff',
        'partner',
        'system'))   -- a program by itself, or a command on the server's own machine
);
-- One booking's history.
CREATE INDEX booking_history_by_booking ON booking_history (booking_id, number);
-- Which bookings changed in a day. The history only grows, so that a summary of its blocks is all that is needed, and
-- costs a sale next to nothing.
CREATE INDEX booking_history_by_time ON booking_history USING brin (at) WITH (pages_per_range = 32);

-- Begins the history of bookings that are made, and makes the payments of those that cost something and are paid for at
-- Stripe; once a statement, for claims that wait together are made together.
CREATE FUNCTION bookings_made() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Who acts in this transaction, where a request said so; a claim is its holder's.
    actor     text := coalesce(nullif(current_setting('lml.actor_kind', true), ''), 'holder');
    actor_is  text := nullif(current_setting('lml.actor_id', true), '');
    came_from text := nullif(current_setting('lml.origin', true), '');
BEGIN
    INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, origin)
    SELECT id, event_id, NULL, state, actor, coalesce(actor_is, holder), coalesce(origin, came_from) FROM made;
    INSERT INTO payment (booking_id) SELECT id FROM made WHERE amount > 0 AND tender IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER bookings_made AFTER INSERT ON booking
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION bookings_made();

-- Refuses a move that the tables do not know and one that the payment does not bear, whoever writes; keeps the history.
-- An update that moves nothing asks no function.
CREATE FUNCTION booking_moves() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    paid text;
BEGIN
    IF NOT EXISTS (SELECT FROM booking_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'booking % may not go from % to %', NEW.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_moves_legally';
    END IF;
    IF NEW.amount > 0 AND NEW.tender IS NULL THEN
        SELECT state INTO paid FROM payment WHERE booking_id = NEW.id;
        IF NOT EXISTS (SELECT FROM payment_fit WHERE booking_state = NEW.state AND payment_state = paid) THEN
            RAISE EXCEPTION 'booking % may not be % while its payment is %', NEW.id, NEW.state, paid
                USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_fits_its_payment';
        END IF;
    END IF;
    INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, reason, origin)
    VALUES (NEW.id, NEW.event_id, OLD.state, NEW.state,
            coalesce(nullif(current_setting('lml.actor_kind', true), ''), 'system'),
            nullif(current_setting('lml.actor_id', true), ''), coalesce(paid, NEW.tender),
            nullif(current_setting('lml.origin', true), ''));
    NEW.changed := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER booking_moves_on_update BEFORE UPDATE ON booking FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION booking_moves();


-- === 5. Payments: a booking's PaymentIntent, and every attempt at Stripe =============================================

-- Which moves of a payment are legal. lml_live/booking/payment_states.py has the same table; a test compares the two.
CREATE TABLE payment_move (
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);
INSERT INTO payment_move (from_state, to_state) VALUES
    -- An intent that is found later than it was made may have come any way.
    ('preparing', 'requires_payment_method'), ('preparing', 'requires_confirmation'), ('preparing', 'requires_action'),
    ('preparing', 'processing'), ('preparing', 'requires_capture'), ('preparing', 'canceled'),
    ('preparing', 'succeeded'), ('preparing', 'abandoned'),
    -- Stripe goes to and fro between these.
    ('requires_payment_method', 'requires_confirmation'), ('requires_payment_method', 'requires_action'),
    ('requires_payment_method', 'processing'), ('requires_payment_method', 'requires_capture'),
    ('requires_payment_method', 'canceled'), ('requires_payment_method', 'succeeded'),
    ('requires_confirmation', 'requires_payment_method'), ('requires_confirmation', 'requires_action'),
    ('requires_confirmation', 'processing'), ('requires_confirmation', 'requires_capture'),
    ('requires_confirmation', 'canceled'), ('requires_confirmation', 'succeeded'),
    ('requires_action', 'requires_payment_method'), ('requires_action', 'requires_confirmation'),
    ('requires_action', 'processing'), ('requires_action', 'requires_capture'),
    ('requires_action', 'canceled'), ('requires_action', 'succeeded'),
    ('processing', 'requires_payment_method'), ('processing', 'requires_confirmation'),
    ('processing', 'requires_action'), ('processing', 'requires_capture'),
    ('processing', 'canceled'), ('processing', 'succeeded'),
    -- Stripe's word for canceled and succeeded is final: they go nowhere.
    ('requires_capture', 'canceled'), ('requires_capture', 'succeeded');

-- What a booking that costs something needs of its payment before it may come to a state: no sale without an
-- authorisation, and no end before Stripe has said that nothing can be charged. The same module has it, too.
CREATE TABLE payment_fit (
    booking_state  text NOT NULL,
    payment_state  text NOT NULL,
    PRIMARY KEY (booking_state, payment_state)
);
INSERT INTO payment_fit (booking_state, payment_state) VALUES
    ('authorized', 'requires_capture'),
    ('confirmed', 'succeeded'), ('partially_refunded', 'succeeded'), ('refunded', 'succeeded'),
    ('disputed', 'succeeded'), ('charged_back', 'succeeded'),
    ('cancelled', 'canceled'), ('cancelled', 'abandoned'),
    ('expired', 'canceled'), ('expired', 'abandoned'),
    ('failed', 'canceled'), ('failed', 'abandoned');
-- While the charge is not decided nothing is asked of it.
INSERT INTO payment_fit (booking_state, payment_state)
SELECT b.state, p.state
FROM unnest(ARRAY['pending_payment', 'cancelling', 'expiring']) AS b (state),
     unnest(ARRAY['preparing', 'requires_payment_method', 'requires_confirmation', 'requires_action', 'processing',
                  'requires_capture', 'canceled', 'succeeded', 'abandoned']) AS p (state);

-- One for each booking that costs something and was not sold at the counter, made with it: the PaymentIntent as Stripe
-- said last, in Stripe's own words, with two of ours. Amount and currency are the booking's (docs/decisions/020).
CREATE TABLE payment (
    booking_id     text PRIMARY KEY REFERENCES booking,
    state          text NOT NULL DEFAULT 'preparing',
    intent_id      text,                      -- the PaymentIntent, once Stripe has made it
    client_secret  text,                      -- lets the buyer's browser confirm it
    looked_at      timestamptz,               -- when Stripe was last asked
    save_card      boolean NOT NULL DEFAULT false,  -- what the buyer said: to be saved once it has paid
    -- No two bookings are paid with one charge.
    CONSTRAINT one_payment_per_intent UNIQUE (intent_id),
    CONSTRAINT payment_state_is_known CHECK (state IN (
        'preparing',                -- ours: Stripe has not answered yet
        'requires_payment_method',  -- the buyer's to choose a card, or another one
        'requires_confirmation',
        'requires_action',          -- the buyer's: 3-D Secure
        'processing',               -- the bank's
        'requires_capture',         -- authorised: the money is reserved
        'canceled',                 -- it can never be charged
        'succeeded',                -- captured
        'abandoned')),              -- ours: there never will be an intent; its create was never sent, or refused
    -- A state that only Stripe can have said, of nothing; or an intent that we forget to look at.
    CONSTRAINT payment_has_an_intent CHECK ((intent_id IS NULL) = (state IN ('preparing', 'abandoned')))
);
-- The trigger of bookings makes it, and nobody else; it begins in preparation.
CREATE TRIGGER payment_begins_with_its_booking BEFORE INSERT ON payment FOR EACH ROW
    WHEN (NEW.state <> 'preparing' OR pg_trigger_depth() = 0)
    EXECUTE FUNCTION refuse();
-- Only the undecided ones are asked about; the poller never walks through all that was ever paid.
CREATE INDEX payment_undecided ON payment (looked_at) WHERE state IN (
    'requires_payment_method', 'requires_confirmation', 'requires_action', 'processing', 'requires_capture');

-- Refuses a move that the table does not know, another intent, and another booking.
CREATE FUNCTION payment_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.booking_id <> OLD.booking_id OR NEW.intent_id <> OLD.intent_id
       OR NEW.state <> OLD.state
          AND NOT EXISTS (SELECT FROM payment_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'payment of booking % may not go from % to %', OLD.booking_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_moves_legally';
    END IF;
    RETURN NEW;
END $$;
-- A look that finds nothing new asks no function.
CREATE TRIGGER payment_moves BEFORE UPDATE ON payment FOR EACH ROW
    WHEN ((OLD.booking_id, OLD.state, OLD.intent_id) IS DISTINCT FROM (NEW.booking_id, NEW.state, NEW.intent_id))
    EXECUTE FUNCTION payment_moves();

-- Every attempt at Stripe: a call under a key of its own, however often it is sent. It is here before it is sent. An
-- attempt without an outcome is unknown, and only asking Stripe tells.
CREATE TABLE payment_attempt (
    booking_id  text NOT NULL,                -- no foreign key: one without a payment is given back what it never needed,
                                              -- and one to the booking would wait for whoever decides about that
    key         text NOT NULL,                -- the idempotency key at Stripe
    act         text NOT NULL,
    tries       integer NOT NULL DEFAULT 1,   -- how often somebody set about sending it
    begun       timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended       timestamptz,
    outcome     text,
    fault       text,                         -- what Stripe said, or that it said nothing
    PRIMARY KEY (booking_id, key),
    CONSTRAINT attempt_act_is_known CHECK (act IN (
        'create_intent', 'cancel_intent', 'cancel_surplus', 'refund_surplus', 'capture_intent',  -- as in the outbox
        'void_intent',                        -- ends an authorisation whose capture was refused for good
        'refund', 'transfer', 'reverse_transfer', 'transfer_again',  -- as in the outbox
        'reverse_surplus', 'submit_evidence')),
    CONSTRAINT attempt_outcome_is_known CHECK (outcome IN (
        'done',      -- Stripe did it and said so
        'found',     -- asked, Stripe had nothing left to do
        'refused',   -- it never will
        'worn')),    -- it answers this key with the same failure for ever, and the next attempt has another
    -- An end of which nobody knows when, or how.
    CONSTRAINT attempt_ends_whole CHECK ((outcome IS NULL) = (ended IS NULL))
);

-- What was tried, and how it ended, is not told otherwise afterwards.
CREATE FUNCTION attempt_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'attempt % ended otherwise', OLD.key
        USING ERRCODE = 'check_violation', CONSTRAINT = 'attempt_stays';
END $$;
CREATE TRIGGER attempt_stays BEFORE UPDATE ON payment_attempt FOR EACH ROW
    WHEN (OLD.outcome IS NOT NULL
          OR (OLD.booking_id, OLD.key, OLD.act, OLD.begun) IS DISTINCT FROM (NEW.booking_id, NEW.key, NEW.act, NEW.begun))
    EXECUTE FUNCTION attempt_stays();
-- Nor is it forgotten.
CREATE TRIGGER attempts_stay BEFORE DELETE OR TRUNCATE ON payment_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();


-- Money that Stripe took for a booking and that the booking has no use for: by another intent than its own, or after it
-- had ended. All of it goes back, and nothing of it is a refund of the booking's (docs/decisions/026).
CREATE TABLE surplus_payment (
    intent_id   text PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES booking,
    amount      bigint NOT NULL,              -- minor units of the booking's currency
    found       timestamptz NOT NULL DEFAULT now(),
    refund_id   text,                         -- re_…; or dp_…, the lost dispute by which it went back
    returned    timestamptz,                  -- when Stripe took that refund
    -- Nothing was taken.
    CONSTRAINT surplus_is_something CHECK (amount > 0),
    -- Given back by nothing, or nobody knows when.
    CONSTRAINT surplus_returns_whole CHECK ((returned IS NULL) = (refund_id IS NULL))
);
-- A booking's.
CREATE INDEX surplus_payment_by_booking ON surplus_payment (booking_id);
-- What was taken and given back is not told otherwise afterwards; but what went back by a dispute that was lost is owed
-- again when the bank gives it back.
CREATE FUNCTION surplus_payment_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.intent_id, OLD.booking_id, OLD.amount, OLD.found)
       IS DISTINCT FROM (NEW.intent_id, NEW.booking_id, NEW.amount, NEW.found)
       OR OLD.returned IS NOT NULL AND NOT (NEW.returned IS NULL AND EXISTS (
           SELECT FROM surplus_dispute WHERE id = OLD.refund_id AND intent_id = OLD.intent_id AND state = 'won')) THEN
        RAISE EXCEPTION 'what % paid went back otherwise', OLD.intent_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'surplus_stays';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER surplus_stays BEFORE UPDATE ON surplus_payment FOR EACH ROW EXECUTE FUNCTION surplus_payment_stays();
CREATE TRIGGER surplus_is_kept BEFORE DELETE OR TRUNCATE ON surplus_payment
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();


-- === 6. Money back, and who comes in: refunds, disputes, tickets =====================================================

-- Money is given back, whole or in part: decided once for its reason's key, and then never changed but in what became of
-- it. Minor units of the booking's currency (docs/decisions/017).
CREATE TABLE refund (
    id          text PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES booking,
    key         text NOT NULL,                -- stands for one reason: a request, or Stripe's own id
    amount      bigint NOT NULL,
    venue       bigint NOT NULL,              -- whose money goes back …
    fees        bigint NOT NULL,
    tax         bigint NOT NULL,
    owed        bigint NOT NULL,              -- … and what was the buyer's already: an earlier refund that came back
    lines       integer[] NOT NULL,           -- whole lines, whose places go on sale again; empty where it is an amount
    reason      text NOT NULL,
    staff_id    text,                         -- NULL: made at Stripe, not here
    state       text NOT NULL DEFAULT 'pending',
    stripe_id   text,                         -- re_…, from when on Stripe has it
    fault       text,                         -- why it failed
    created     timestamptz NOT NULL DEFAULT clock_timestamp(),
    accepted    timestamptz,                  -- when Stripe took it: the money has left, the places are free
    looked_at   timestamptz,                  -- when Stripe was last asked about it
    -- A request that is sent again gives nothing back twice.
    CONSTRAINT one_refund_per_key UNIQUE (booking_id, key),
    -- Nor does what Stripe tells us twice.
    CONSTRAINT one_refund_per_stripe_id UNIQUE (stripe_id),
    -- Money that comes from nobody; and a refund of neither money nor places.
    CONSTRAINT refund_is_shared_out CHECK (
        least(venue, fees, tax, owed) >= 0 AND amount = venue + fees + tax + owed
        AND (amount > 0 OR cardinality(lines) > 0)),
    CONSTRAINT refund_state_is_known CHECK (state IN (
        'pending',     -- decided; with `accepted`, on its way
        'succeeded',   -- arrived
        'failed')),    -- refused by Stripe; with `accepted`, it came back and is the buyer's still
    -- Stripe's id, or an arrival, of what it never took.
    CONSTRAINT refund_is_taken_whole CHECK (
        (stripe_id IS NULL OR accepted IS NOT NULL) AND (state <> 'succeeded' OR accepted IS NOT NULL))
);
-- A booking's refunds, in order.
CREATE INDEX refund_by_booking ON refund (booking_id, created, id);
-- Those on their way, which the poller asks about.
CREATE INDEX refund_unfinished ON refund (looked_at) WHERE state = 'pending' AND accepted IS NOT NULL;
-- Which moved money in a day: the daily match.
CREATE INDEX refund_by_acceptance ON refund (accepted) WHERE accepted IS NOT NULL;

-- A refund begins as a decision: Stripe takes it afterwards.
CREATE TRIGGER refund_begins_undone BEFORE INSERT ON refund FOR EACH ROW
    WHEN (NEW.state <> 'pending' OR NEW.accepted IS NOT NULL)
    EXECUTE FUNCTION refuse();

-- Never more than was captured, no line twice, nothing decided otherwise afterwards: whoever writes, and however many do
-- at once, for each waits here for the booking's row.
CREATE FUNCTION refund_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    paid bigint;
    back bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (OLD.id, OLD.booking_id, OLD.key, OLD.amount, OLD.venue, OLD.fees, OLD.tax, OLD.owed, OLD.lines, OLD.reason,
            OLD.staff_id, OLD.created)
           IS DISTINCT FROM
           (NEW.id, NEW.booking_id, NEW.key, NEW.amount, NEW.venue, NEW.fees, NEW.tax, NEW.owed, NEW.lines, NEW.reason,
            NEW.staff_id, NEW.created)
           OR OLD.accepted IS NOT NULL AND (NEW.stripe_id, NEW.accepted) IS DISTINCT FROM (OLD.stripe_id, OLD.accepted)
        THEN
            RAISE EXCEPTION 'refund % was decided otherwise', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_stays_as_decided';
        END IF;
        IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
            ('pending', 'succeeded'), ('pending', 'failed'), ('succeeded', 'failed')) THEN
            RAISE EXCEPTION 'refund % may not go from % to %', OLD.id, OLD.state, NEW.state
                USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_moves_legally';
        END IF;
        RETURN NEW;
    END IF;
    SELECT amount INTO paid FROM booking
    WHERE id = NEW.booking_id AND (state IN ('confirmed', 'partially_refunded', 'refunded', 'disputed')
                                   OR state = 'charged_back' AND NEW.staff_id IS NULL)
    FOR UPDATE;
    SELECT coalesce(sum(amount), 0) INTO back FROM refund WHERE booking_id = NEW.booking_id AND state <> 'failed';
    IF paid IS NULL OR back + NEW.amount > paid THEN
        RAISE EXCEPTION 'booking % gives back more than was captured', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_is_within_capture';
    END IF;
    IF EXISTS (SELECT FROM refund WHERE booking_id = NEW.booking_id AND lines && NEW.lines
               AND (state <> 'failed' OR accepted IS NOT NULL)) THEN
        RAISE EXCEPTION 'booking % gives a line back twice', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'line_is_given_back_once';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refund_keeps_within BEFORE INSERT OR UPDATE ON refund FOR EACH ROW EXECUTE FUNCTION refund_keeps_within();

-- A refund that is gone could be made again.
CREATE FUNCTION refund_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refunds are never forgotten'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_stays';
END $$;
CREATE TRIGGER refund_stays BEFORE DELETE ON refund FOR EACH STATEMENT EXECUTE FUNCTION refund_stays();

-- A buyer's bank takes a payment back, for now or for good, or asks whether it should (docs/decisions/025).
CREATE TABLE dispute (
    id             text PRIMARY KEY,          -- dp_… or du_…, Stripe's
    booking_id     text NOT NULL REFERENCES booking,
    amount         bigint NOT NULL,           -- minor units of the booking's currency
    bank_amount    bigint,                    -- as the bank says it, where that is in another currency …
    bank_currency  text,                      -- … which is this
    reason         text NOT NULL,             -- the bank's
    due_by         timestamptz,               -- until when it hears evidence
    state          text NOT NULL DEFAULT 'open',
    lost_venue     bigint,                    -- whose money it took for good …
    lost_fees      bigint,
    lost_tax       bigint,
    lost_owed      bigint,                    -- … and what was the buyer's already: a refund that had come back
    opened         timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed         timestamptz,
    looked_at      timestamptz NOT NULL DEFAULT now(),  -- when Stripe was last asked about it
    -- A dispute about nothing, or one that gives.
    CONSTRAINT dispute_is_an_amount CHECK (amount > 0),
    CONSTRAINT dispute_state_is_known CHECK (state IN (
        'inquiry',  -- the bank asks; nothing is withdrawn
        'dropped',  -- it asked, and asks no more
        'open',     -- Stripe has withdrawn the money until the bank has decided
        'won',      -- it is ours again
        'lost')),   -- it is the buyer's
    -- A decision of which nobody knows when it was.
    CONSTRAINT dispute_is_closed_once CHECK ((state IN ('inquiry', 'open')) = (closed IS NULL)),
    -- An amount whose currency nobody could say.
    CONSTRAINT dispute_of_a_bank_is_whole CHECK (num_nonnulls(bank_amount, bank_currency) IN (0, 2)),
    -- What was lost is somebody's, all of it; and what was not is nobody's.
    CONSTRAINT dispute_is_lost_whole CHECK (
        CASE state WHEN 'lost' THEN coalesce(lost_venue + lost_fees + lost_tax + lost_owed = amount, false)
                   ELSE num_nonnulls(lost_venue, lost_fees, lost_tax, lost_owed) = 0 END)
);
-- A booking's disputes, in order.
CREATE INDEX dispute_by_booking ON dispute (booking_id, opened, id);
-- Those that the poller asks about.
CREATE INDEX dispute_by_look ON dispute (looked_at);

-- Decided is decided, but for a bank that gives back what it took; and a dispute stays about its booking and its amount.
CREATE FUNCTION dispute_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('inquiry', 'dropped'), ('inquiry', 'open'), ('dropped', 'open'), ('open', 'won'), ('open', 'lost'), ('lost', 'won'))
       OR (OLD.id, OLD.booking_id) IS DISTINCT FROM (NEW.id, NEW.booking_id)
       OR OLD.state NOT IN ('inquiry', 'dropped')
          AND (OLD.amount, OLD.bank_amount, OLD.bank_currency)
              IS DISTINCT FROM (NEW.amount, NEW.bank_amount, NEW.bank_currency)
       OR OLD.state = 'lost' AND NEW.state = 'lost'
          AND (OLD.lost_venue, OLD.lost_fees, OLD.lost_tax, OLD.lost_owed)
              IS DISTINCT FROM (NEW.lost_venue, NEW.lost_fees, NEW.lost_tax, NEW.lost_owed) THEN
        RAISE EXCEPTION 'dispute % is over', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'dispute_moves_legally';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER dispute_moves BEFORE UPDATE ON dispute FOR EACH ROW EXECUTE FUNCTION dispute_moves();

-- A bank does the same with what bought nothing, before it could go back or after: money alone, and the buyer's.
CREATE TABLE surplus_dispute (
    id             text PRIMARY KEY,          -- dp_… or du_…, Stripe's
    intent_id      text NOT NULL REFERENCES surplus_payment,
    booking_id     text NOT NULL REFERENCES booking,
    amount         bigint NOT NULL,           -- minor units of the booking's currency
    bank_amount    bigint,                    -- as the bank says it, where that is in another currency …
    bank_currency  text,                      -- … which is this
    reason         text NOT NULL,             -- the bank's
    state          text NOT NULL,
    opened         timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed         timestamptz,
    looked_at      timestamptz NOT NULL DEFAULT now(),  -- when Stripe was last asked about it
    -- A dispute about nothing, or one that gives.
    CONSTRAINT surplus_dispute_is_an_amount CHECK (amount > 0),
    -- As a dispute's.
    CONSTRAINT surplus_dispute_state_is_known CHECK (state IN ('inquiry', 'dropped', 'open', 'won', 'lost')),
    -- A decision of which nobody knows when it was.
    CONSTRAINT surplus_dispute_is_closed_once CHECK ((state IN ('inquiry', 'open')) = (closed IS NULL)),
    -- An amount whose currency nobody could say.
    CONSTRAINT surplus_dispute_of_a_bank_is_whole CHECK (num_nonnulls(bank_amount, bank_currency) IN (0, 2))
);
-- The daily match.
CREATE INDEX surplus_dispute_by_booking ON surplus_dispute (booking_id);
-- A payment's.
CREATE INDEX surplus_dispute_by_intent ON surplus_dispute (intent_id);
-- Those that the poller asks about.
CREATE INDEX surplus_dispute_by_look ON surplus_dispute (looked_at);

-- Decided is decided, as a dispute of a booking's own.
CREATE FUNCTION surplus_dispute_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('inquiry', 'dropped'), ('inquiry', 'open'), ('dropped', 'open'), ('open', 'won'), ('open', 'lost'), ('lost', 'won'))
       OR (OLD.id, OLD.intent_id, OLD.booking_id) IS DISTINCT FROM (NEW.id, NEW.intent_id, NEW.booking_id)
       OR OLD.state NOT IN ('inquiry', 'dropped')
          AND (OLD.amount, OLD.bank_amount, OLD.bank_currency)
              IS DISTINCT FROM (NEW.amount, NEW.bank_amount, NEW.bank_currency) THEN
        RAISE EXCEPTION 'dispute % is over', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'surplus_dispute_moves_legally';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER surplus_dispute_moves BEFORE UPDATE ON surplus_dispute FOR EACH ROW
    EXECUTE FUNCTION surplus_dispute_moves();
CREATE TRIGGER surplus_disputes_stay BEFORE DELETE OR TRUNCATE ON surplus_dispute
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- What Stripe takes for a bank's trouble, and sometimes gives back: one row for each balance transaction that bore some.
CREATE TABLE dispute_fee (
    id          text PRIMARY KEY,             -- txn_…
    dispute_id  text REFERENCES dispute,
    amount      bigint NOT NULL,              -- minor units; below 0 it came back
    currency    text NOT NULL,                -- of our account at Stripe
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    surplus_dispute_id text REFERENCES surplus_dispute,
    -- For the trouble of nobody, or of two.
    CONSTRAINT dispute_fee_is_of_one CHECK (num_nonnulls(dispute_id, surplus_dispute_id) = 1),
    -- A fee of nothing.
    CONSTRAINT dispute_fee_is_an_amount CHECK (amount <> 0),
    -- No amount whose currency nobody could say.
    CONSTRAINT dispute_fee_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$')
);
-- The daily match.
CREATE INDEX dispute_fee_by_dispute ON dispute_fee (dispute_id);
-- The same of what bought nothing.
CREATE INDEX dispute_fee_by_surplus ON dispute_fee (surplus_dispute_id) WHERE surplus_dispute_id IS NOT NULL;
CREATE TRIGGER dispute_fees_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON dispute_fee
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- What a bank is told of a dispute, or of an inquiry: once for each, and always the same (docs/decisions/025).
CREATE TABLE dispute_evidence (
    key         text PRIMARY KEY,             -- the outbox's
    dispute_id  text NOT NULL REFERENCES dispute,
    booking_id  text NOT NULL REFERENCES booking,
    round       text NOT NULL,
    body        jsonb,                        -- Stripe's fields, from when they were first sent
    assembled   timestamptz,
    state       text NOT NULL DEFAULT 'planned',
    fault       text,
    created     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended       timestamptz,
    -- A bank hears evidence once.
    CONSTRAINT one_evidence_per_round UNIQUE (dispute_id, round),
    CONSTRAINT evidence_round_is_known CHECK (round IN (
        'inquiry',   -- what it asked about …
        'dispute')), -- … and what it took
    CONSTRAINT evidence_state_is_known CHECK (state IN (
        'planned',    -- in the outbox
        'submitted',  -- the bank has it
        'found',      -- it has heard somebody else's, or hears none any more
        'refused')),  -- Stripe will not have it
    -- Words of which nobody knows when they were put together.
    CONSTRAINT evidence_is_assembled_whole CHECK (num_nonnulls(body, assembled) IN (0, 2)),
    -- It ends; and what was submitted was something.
    CONSTRAINT evidence_ends_whole CHECK (
        (state = 'planned') = (ended IS NULL) AND (state <> 'submitted' OR body IS NOT NULL))
);
-- What was told is not told otherwise.
CREATE FUNCTION evidence_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the evidence of dispute % was another', OLD.dispute_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'evidence_stays';
END $$;
CREATE TRIGGER evidence_stays BEFORE UPDATE ON dispute_evidence FOR EACH ROW
    WHEN (OLD.state <> 'planned' OR OLD.body IS NOT NULL AND OLD.body IS DISTINCT FROM NEW.body
          OR (OLD.key, OLD.dispute_id, OLD.booking_id, OLD.round)
             IS DISTINCT FROM (NEW.key, NEW.dispute_id, NEW.booking_id, NEW.round))
    EXECUTE FUNCTION evidence_stays();
CREATE TRIGGER evidence_is_kept BEFORE DELETE OR TRUNCATE ON dispute_evidence
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- Tickets: one for each place of a paid booking, known by a code that nobody can guess, good for one admission.
CREATE TABLE ticket (
    id          text PRIMARY KEY,             -- the code: 122 random bits
    booking_id  text NOT NULL,
    event_id    text NOT NULL,                -- the booking's; asked below
    line        integer NOT NULL,
    state       text NOT NULL DEFAULT 'valid',
    issued      timestamptz NOT NULL DEFAULT clock_timestamp(),
    issue_key   text,                         -- of a reprint: what asked for it
    staff_id    text,                         -- of a reprint: who, and why
    reason      text,
    used_at     timestamptz,                  -- when, where and by whom it was let in …
    used_gate   text,
    used_by     text,
    used_key    text,                         -- … and what asked for that: asked again, it is the same admission
    FOREIGN KEY (booking_id, line) REFERENCES booking_line,
    CONSTRAINT ticket_state_is_known CHECK (state IN (
        'valid',
        'flagged',  -- the payment is disputed: somebody at the door decides
        'used',     -- it was let in on
        'void')),   -- printed anew, or its money went back
    -- An admission of which nobody knows when, where, by whom or at whose request it was.
    CONSTRAINT ticket_is_used_whole CHECK (
        num_nonnulls(used_at, used_gate, used_by, used_key) IN (0, 4) AND (state <> 'used' OR used_at IS NOT NULL))
);
-- Nobody comes in twice on one place. Void ones may be many.
CREATE UNIQUE INDEX one_ticket_per_place ON ticket (booking_id, line) WHERE state <> 'void';
-- A booking's tickets, in order.
CREATE INDEX ticket_by_booking ON ticket (booking_id, line, issued);

-- A ticket begins valid, for its booking's event, when that is paid for.
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

-- Refuses a second admission, the way back from void, and a ticket that becomes another place's. Which moves are legal is
-- in lml_live/booking/tickets.py as well; a test compares the two.
CREATE FUNCTION ticket_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('valid', 'used'), ('valid', 'flagged'), ('valid', 'void'), ('flagged', 'valid'), ('flagged', 'void'),
        ('used', 'void'))
       OR (OLD.id, OLD.booking_id, OLD.event_id, OLD.line) IS DISTINCT FROM
          (NEW.id, NEW.booking_id, NEW.event_id, NEW.line)
       OR OLD.used_at IS NOT NULL AND (OLD.used_at, OLD.used_gate, OLD.used_by, OLD.used_key) IS DISTINCT FROM
          (NEW.used_at, NEW.used_gate, NEW.used_by, NEW.used_key) THEN
        RAISE EXCEPTION 'a ticket may not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ticket_moves_legally';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ticket_moves BEFORE UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION ticket_moves();


-- === 7. The double-entry ledger, and Stripe's account of the same money ==============================================

-- Where money can be. (Rows, not a CHECK: reports join them, and an account has a side on which it grows.)
CREATE TABLE ledger_account (
    name  text PRIMARY KEY,
    side  text NOT NULL,                      -- on which side it grows
    says  text NOT NULL,
    -- A third side.
    CONSTRAINT account_side_is_known CHECK (side IN ('debit', 'credit'))
);
INSERT INTO ledger_account (name, side, says) VALUES
    ('buyer_receivable', 'debit',  'sold and authorised, not captured yet'),
    ('stripe_balance',   'debit',  'at Stripe: captured, not given back'),
    ('disputed_funds',   'debit',  'withdrawn by Stripe until a dispute is decided'),
    ('cash_drawer',      'debit',  'cash: taken at the counter, not given back'),
    ('card_terminal',    'debit',  'taken by the counter''s terminal, not given back: its provider owes it'),
    ('venue_payable',    'credit', 'the venue''s: ticket prices without tax'),
    ('fee_income',       'credit', 'ours: fees without tax'),
    ('tax_payable',      'credit', 'the state''s: the tax in prices and fees'),
    ('refunds_due',      'credit', 'the buyer''s again: decided, and not arrived'),
    ('transfers_due',           'credit', 'an organisation''s: decided, and not transferred yet'),
    ('organisation_receivable', 'debit',  'an organisation owes it back: neither reversed nor netted yet'),
    ('dispute_fees',     'debit',  'what Stripe took for disputes, in the currency it took it in');

-- What every move of a booking means in money: lml_live/booking/ledger.py says which move books what. No foreign key binds
-- it to a booking, and none keeps it: it stays when all else is gone.
CREATE TABLE ledger_transaction (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id  text NOT NULL,
    reason      text NOT NULL,                -- what happened: a posting of booking/ledger.py
    key         text NOT NULL,                -- what it happened to, and the reason
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Nothing is booked twice, however often it is found out.
    CONSTRAINT booked_once UNIQUE (key)
);
-- What was booked in a time, for the people who read the ledger (the server never does). It only grows, so that a summary
-- of its blocks is enough; who asks for one booking waits while all of it is read, and no sale pays for that.
CREATE INDEX ledger_transaction_by_time ON ledger_transaction USING brin (at) WITH (pages_per_range = 32);

-- The two sides of each.
CREATE TABLE ledger_entry (
    transaction  bigint NOT NULL REFERENCES ledger_transaction,
    account      text NOT NULL REFERENCES ledger_account,
    currency     text NOT NULL,
    debit        bigint NOT NULL DEFAULT 0,   -- minor units
    credit       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (transaction, account, currency),
    -- An entry of nothing, of both sides, or of less than nothing.
    CONSTRAINT entry_has_one_side CHECK (debit >= 0 AND credit >= 0 AND (debit = 0) <> (credit = 0)),
    -- No amount whose currency nobody could say.
    CONSTRAINT entry_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$')
);

-- Debits are credits, in each transaction and currency: every statement that adds entries balances in itself, so there
-- is no moment at which the ledger does not, and one look a statement does for all its rows. And of a booking that is
-- there, they are in its currency; but what Stripe takes for a dispute is in the one of our account there.
CREATE FUNCTION ledger_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong record;
BEGIN
    SELECT sum(debit) <> sum(credit) AS sums INTO wrong
    FROM added GROUP BY transaction, currency
    HAVING sum(debit) <> sum(credit)
        OR NOT bool_or(account = 'dispute_fees')
           AND currency <> (SELECT b.currency FROM ledger_transaction t JOIN booking b ON b.id = t.booking_id
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
CREATE TRIGGER ledger_balances AFTER INSERT ON ledger_entry
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_balances();

-- Only ever added to: a mistake is put right by another transaction.
CREATE FUNCTION ledger_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only ever added to'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_stays';
END $$;
CREATE TRIGGER ledger_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_account
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_stays();
CREATE TRIGGER ledger_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_stays();
CREATE TRIGGER ledger_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_stays();

-- Stripe's balance transactions that moved a buyer's money, as Stripe has them: copied, never edited. Bookings are matched
-- with them every day (docs/decisions/007).
CREATE TABLE stripe_transaction (
    id          text PRIMARY KEY,             -- txn_…
    intent_id   text NOT NULL,                -- the PaymentIntent; the charge where there is none
    booking_id  text,                         -- what the charge's metadata says; it may name a booking that is not there
    kind        text NOT NULL,
    amount      bigint NOT NULL,              -- minor units of what the buyer paid in; below 0 it was given back
    currency    text NOT NULL,
    created     timestamptz NOT NULL,         -- by Stripe's clock
    fee          bigint,                      -- what Stripe took beside; NULL: it was copied before fees were
    fee_currency text,                        -- that of our account there
    CONSTRAINT transaction_kind_is_known CHECK (kind IN (  -- What moved it, and thus on which side it is compared.
        'charge', 'refund', 'dispute',  -- a buyer's money
        'transfer', 'reversal')),       -- an organisation's part of it
    -- Nothing could be compared with it.
    CONSTRAINT transaction_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$')
);
-- What moved in a day; of one intent; of one booking, where the charge names one.
CREATE INDEX stripe_transaction_by_time ON stripe_transaction (created);
CREATE INDEX stripe_transaction_by_intent ON stripe_transaction (intent_id);  -- As above.
CREATE INDEX stripe_transaction_by_booking ON stripe_transaction (booking_id) WHERE booking_id IS NOT NULL;  -- As above.
CREATE TRIGGER stripe_transactions_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON stripe_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- One row for each match that came to its end; the next begins where the latest ended. A match that a crash ended has
-- none, and is done again.
CREATE TABLE money_match (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    since         timestamptz NOT NULL,       -- what changed after this …
    until         timestamptz NOT NULL,       -- … and not after this was compared
    finished      timestamptz NOT NULL DEFAULT clock_timestamp(),
    transactions  integer NOT NULL,           -- read from Stripe
    bookings      integer NOT NULL,           -- compared
    counts        jsonb NOT NULL,             -- differences by kind
    differences   jsonb NOT NULL,             -- the differences, up to a bound; the next match looks at them again
    -- A clock that was set back must not make it skip a day.
    CONSTRAINT match_goes_forward CHECK (since <= until)
);

-- Which moves of a payout are legal. lml_live/booking/payout_states.py has the same table; a test compares the two.
CREATE TABLE payout_move (
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);
INSERT INTO payout_move (from_state, to_state) VALUES
    -- One that is seen again late may have come any way.
    ('pending', 'in_transit'), ('pending', 'paid'), ('pending', 'failed'), ('pending', 'canceled'),
    ('in_transit', 'paid'), ('in_transit', 'failed'), ('in_transit', 'canceled'),
    -- A bank may send back what it took.
    ('paid', 'failed');

-- What went from an organisation's account at Stripe to its bank, as Stripe says: it decides when and how much, not we.
CREATE TABLE payout (
    stripe_id        text PRIMARY KEY,        -- po_…
    organisation_id  text NOT NULL,
    account_id       text NOT NULL,           -- acct_…
    amount           bigint NOT NULL,         -- minor units; below 0: Stripe took what the account owed from its bank
    currency         text NOT NULL,
    state            text NOT NULL,
    automatic        boolean NOT NULL,        -- by Stripe's schedule; else somebody asked for it
    arrives          timestamptz NOT NULL,    -- the day on which the bank should have it
    failure_code     text,                    -- why a bank refused it, in Stripe's word
    created          timestamptz NOT NULL,    -- at Stripe
    seen             timestamptz NOT NULL DEFAULT clock_timestamp(),  -- by us, first
    -- One account's money would be told as another organisation's.
    CONSTRAINT payout_is_of_its_account FOREIGN KEY (organisation_id, account_id)
        REFERENCES connected_account (organisation_id, account_id),
    -- Nothing is no payout.
    CONSTRAINT payout_is_an_amount CHECK (amount <> 0),
    -- Nobody could say how much that is.
    CONSTRAINT payout_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT payout_state_is_known CHECK (state IN (
        'pending',     -- Stripe has not sent it yet
        'in_transit',  -- the bank has it to book
        'paid',        -- it arrived; a few fail after all
        'failed',      -- the bank refused it, and it is in the account's balance again
        'canceled')),  -- called off before it left, and there again
    -- A reason for what did not happen.
    CONSTRAINT payout_fails_for_a_reason CHECK (failure_code IS NULL OR state = 'failed')
);
-- An organisation's list, and the daily match.
CREATE INDEX payout_by_organisation ON payout (organisation_id, created, stripe_id);

-- Refuses a move that the table does not know, and another payout under the same name.
CREATE FUNCTION payout_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.stripe_id, OLD.organisation_id, OLD.account_id, OLD.amount, OLD.currency, OLD.automatic, OLD.created, OLD.seen)
       IS DISTINCT FROM
       (NEW.stripe_id, NEW.organisation_id, NEW.account_id, NEW.amount, NEW.currency, NEW.automatic, NEW.created, NEW.seen)
       OR NEW.state <> OLD.state
          AND NOT EXISTS (SELECT FROM payout_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'payout % may not go from % to %, or is another', OLD.stripe_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payout_moves_legally';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payout_moves BEFORE UPDATE ON payout FOR EACH ROW EXECUTE FUNCTION payout_moves();


-- === 8. What is to be done outside PostgreSQL, and what Stripe tells =================================================

-- What is still to be done outside. Written in the transaction that decides it, sent at least once, with one key for all
-- its tries; whoever sends takes a lease first. No transaction waits for the network.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id    text NOT NULL,
    event_id      text NOT NULL,
    act           text NOT NULL,
    key           text NOT NULL,              -- with `attempt`, the idempotency key at Stripe
    intent_id     text,                       -- of cancel_surplus and refund_surplus: the intent that is not the booking's
    refund_id     text REFERENCES refund,     -- of refund and keep_places
    tries         integer NOT NULL DEFAULT 0, -- 0: it was never sent
    attempt       integer NOT NULL DEFAULT 0, -- rises where a key is worn out
    due           timestamptz NOT NULL DEFAULT now(),
    leased_until  timestamptz,
    done          timestamptz,
    struck        boolean NOT NULL DEFAULT false,  -- done by not being done: decided before it was ever sent
    stuck         timestamptz,                -- since when nobody tries any more, before somebody has looked
    fault         text,                       -- why the last try did not succeed
    created       timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (booking_id, event_id) REFERENCES booking (id, event_id),
    -- What is decided twice is done once.
    CONSTRAINT outbox_key_is_unique UNIQUE (key),
    CONSTRAINT outbox_act_is_known CHECK (act IN (
        'create_intent',    -- at Stripe: a PaymentIntent for the booking
        'cancel_intent',    -- at Stripe: its end, where the booking is given up
        'cancel_surplus',   -- at Stripe: the end of an intent that a booking does not want beside its own
        'refund_surplus',   -- at Stripe: all that was paid by such an intent
        'capture_intent',   -- at Stripe: the authorised money
        'sell_hold',        -- in Redis: the hold's places show sold
        'free_booking',     -- in Redis: all places of the booking are on sale again
        'restore_hold',     -- in Redis: a refused checkout's hold is a hold again
        'refund',           -- at Stripe: money back
        'keep_places',      -- in Redis: what a part of a refund leaves the booking; its other places are on sale again
        'transfer',         -- at Stripe: an organisation's part of it
        'reverse_transfer',  -- at Stripe: what of that is owed back
        'transfer_again',    -- at Stripe: what of that was owed back for a dispute that was won after all
        'check_transfers',   -- at Stripe: whether one was made twice
        'reverse_surplus',   -- at Stripe: the second one back
        'submit_evidence')), -- at Stripe: what a bank is told in a dispute
    -- What is stuck is tried by nobody, and what is done is not stuck.
    CONSTRAINT stuck_is_not_due CHECK (stuck IS NULL OR done IS NULL AND due = 'infinity'),
    -- What was struck must never have been sent: it could have been done.
    CONSTRAINT struck_is_unsent CHECK (NOT struck OR tries = 0),
    -- Only a surplus intent is named here: the booking's own is the payment's, and may not be known yet.
    CONSTRAINT surplus_is_named CHECK ((act IN ('cancel_surplus', 'refund_surplus')) = (intent_id IS NOT NULL)),
    -- A refund of nobody knows what.
    CONSTRAINT refund_is_named CHECK ((act IN ('refund', 'keep_places')) = (refund_id IS NOT NULL))
);
-- What is due, but for payments that are to be made; what is done, which is nearly all, is not searched for it.
CREATE INDEX outbox_open ON outbox (due) WHERE done IS NULL AND act <> 'create_intent';
-- Those, in the order in which they were asked for: the queue at Stripe (docs/decisions/024).
CREATE INDEX outbox_creates ON outbox (id) WHERE done IS NULL AND act = 'create_intent';
-- What somebody must look at.
CREATE INDEX outbox_stuck ON outbox (stuck) WHERE stuck IS NOT NULL;
-- What a request waits for.
CREATE INDEX outbox_by_booking ON outbox (booking_id, id);

-- How fast Stripe is called, by all processes together: a bucket for each of its operations, and one for all. Unlogged:
-- after a crash it begins anew, which grants one burst, and no call waits for the disk (docs/decisions/024).
CREATE UNLOGGED TABLE stripe_pace (
    name           text PRIMARY KEY,
    next_at        timestamptz NOT NULL DEFAULT now(),  -- when the next call is due, if they come evenly
    background_at  timestamptz NOT NULL DEFAULT now(),  -- when background work may have the next, though buyers wait
    share          double precision NOT NULL DEFAULT 1,  -- of the pace, when Stripe last had too many calls
    slowed_at      timestamptz NOT NULL DEFAULT now(),  -- when that was
    -- A pace of nothing never ends; and one beyond Stripe's.
    CONSTRAINT pace_is_a_share CHECK (share > 0 AND share <= 1)
) WITH (fillfactor = 10);

-- Stripe's notices, kept before they are answered; each once, whatever order they come in. One whose look failed is looked
-- into again: of a dispute that opens, or a refund that came back, there may be no other word.
CREATE TABLE stripe_notice (
    id          text PRIMARY KEY,             -- evt_…
    type        text NOT NULL,
    intent_id   text,
    account_id  text,                         -- the connected account that it is about …
    payout_id   text,                         -- … and its payout (po_…)
    received    timestamptz NOT NULL DEFAULT now(),
    due         timestamptz NOT NULL DEFAULT now(),
    done        timestamptz
);
-- Those that are due.
CREATE INDEX stripe_notice_open ON stripe_notice (due) WHERE done IS NULL;


-- === 9. Buyers' accounts =============================================================================================

-- Who signs in, with one holder for all of their devices (docs/decisions/018).
CREATE TABLE account (
    id             text PRIMARY KEY,
    email          text NOT NULL,             -- lower case
    password_hash  text NOT NULL,             -- argon2id
    holder         text NOT NULL,             -- holds and books for the account, on whatever device
    created        timestamptz NOT NULL DEFAULT now(),
    -- Who signs in with an address is one buyer.
    CONSTRAINT one_account_per_email UNIQUE (email),
    -- What one buyer holds is not another's.
    CONSTRAINT one_account_per_holder UNIQUE (holder),
    -- In two spellings an address could be there twice.
    CONSTRAINT account_email_is_lower_case CHECK (email = lower(email)),
    -- A holder like any other, in tokens and Redis.
    CONSTRAINT account_holder_is_an_id CHECK (holder ~ '^[A-Za-z0-9-]{1,64}$')
);

-- A token names its session; that it is good says its signature, that it has not ended says this row.
CREATE TABLE account_session (
    id          text PRIMARY KEY,
    account_id  text NOT NULL REFERENCES account ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL,
    created     timestamptz NOT NULL DEFAULT now()
);
-- Ended ones are swept away.
CREATE INDEX account_session_by_end ON account_session (expires_at);
-- An account's, the oldest of which go where there are too many.
CREATE INDEX account_session_by_account ON account_session (account_id, created);

-- Somebody asked for an account of this address, or for a new password: whoever reads its mail may choose one. The
-- secret in the mail is made of the id, and stands in no table.
CREATE TABLE account_invitation (
    id          text PRIMARY KEY,
    email       text NOT NULL,
    expires_at  timestamptz NOT NULL,
    used        timestamptz,
    created     timestamptz NOT NULL DEFAULT now()
);
-- How many an address was sent lately.
CREATE INDEX account_invitation_by_email ON account_invitation (email, created);
-- Old ones are swept away.
CREATE INDEX account_invitation_by_age ON account_invitation (created);

-- An account as Stripe's customer, whose cards are saved there and nowhere here. It is on record before Stripe is asked for
-- one, and found again where the answer was lost.
CREATE TABLE stripe_customer (
    account_id   text PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    attempt      integer NOT NULL DEFAULT 0,  -- with the account, the idempotency key at Stripe
    customer_id  text,                        -- cus_…
    begun        timestamptz NOT NULL DEFAULT now(),
    gone         text[] NOT NULL DEFAULT '{}',  -- those before, which Stripe has deleted
    -- Two accounts that pay with the same cards.
    CONSTRAINT one_account_per_customer UNIQUE (customer_id),
    -- A late answer brings back what was deleted.
    CONSTRAINT gone_customer_stays_gone CHECK (customer_id <> ALL (gone))
);
-- Whose cards are an account's is never changed: but one that Stripe has deleted goes on record as gone, and then another
-- is made, under another key.
CREATE TRIGGER customer_stays BEFORE UPDATE ON stripe_customer FOR EACH ROW
    WHEN ((OLD.customer_id IS NOT NULL AND OLD.customer_id IS DISTINCT FROM NEW.customer_id OR OLD.gone <> NEW.gone)
          AND NOT (OLD.customer_id IS NOT NULL AND NEW.customer_id IS NULL AND NEW.attempt > OLD.attempt
                   AND NEW.gone = OLD.gone || OLD.customer_id))
    EXECUTE FUNCTION refuse();

-- An anonymous holder has signed in: what they hold and have booked becomes the account's. Written before anything is
-- moved, so that a worker which dies halfway leaves word of what is to be done.
CREATE TABLE hand_over (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_holder  text NOT NULL,
    to_holder    text NOT NULL REFERENCES account (holder) ON DELETE CASCADE,
    due          timestamptz NOT NULL DEFAULT now(),
    created      timestamptz NOT NULL DEFAULT now(),
    done         timestamptz,
    -- To oneself, it would never end.
    CONSTRAINT hand_over_goes_elsewhere CHECK (from_holder <> to_holder)
);
-- A sign-in that is sent again hands over once; a later one may again.
CREATE UNIQUE INDEX one_open_hand_over ON hand_over (from_holder, to_holder) WHERE done IS NULL;
-- What is due.
CREATE INDEX hand_over_open ON hand_over (due) WHERE done IS NULL;
-- What is to be forgotten.
CREATE INDEX hand_over_ended ON hand_over (done) WHERE done IS NOT NULL;

-- Whose a booking is changes with a hand-over only, and is on record.
CREATE FUNCTION booking_changes_hands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM hand_over
                   WHERE from_holder = OLD.holder AND to_holder = NEW.holder AND done IS NULL) THEN
        RAISE EXCEPTION 'booking % is not handed over', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_changes_hands';
    END IF;
    INSERT INTO audit_record (event_id, actor_kind, actor_id, action, subject_kind, subject_id, detail)
    VALUES (NEW.event_id, 'holder', NEW.holder, 'booking.handed_over', 'booking', NEW.id,
            jsonb_build_object('holder', jsonb_build_array(OLD.holder, NEW.holder)));
    RETURN NULL;
END $$;
CREATE TRIGGER booking_changes_hands AFTER UPDATE OF holder ON booking FOR EACH ROW
    WHEN (OLD.holder <> NEW.holder) EXECUTE FUNCTION booking_changes_hands();


-- === 10. E-mail ======================================================================================================

-- E-mail, to buyers and to organisations' managers: what is to be told is decided in the transaction that decides what it tells of, and sent at least once.
CREATE TABLE mail (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id     text REFERENCES booking,
    invitation_id  text REFERENCES account_invitation ON DELETE CASCADE,
    payout_id      text REFERENCES payout,
    member_id      text REFERENCES staff ON DELETE CASCADE,  -- whom a mail of a payout goes to
    kind           text NOT NULL,
    ordinal        integer NOT NULL DEFAULT 1,  -- a second refund is another mail; a second confirmation is none
    due            timestamptz NOT NULL DEFAULT now(),
    tries          integer NOT NULL DEFAULT 0,
    leased_until   timestamptz,
    sent           timestamptz,                 -- a mail server took it
    given_up       timestamptz,                 -- none ever will
    fault          text,                        -- why the last try did not succeed; never an address
    created        timestamptz NOT NULL DEFAULT now(),
    -- Nobody is told the same thing twice because two workers found it out. (An invitation, of no booking, is one each.)
    CONSTRAINT one_mail_of_a_kind UNIQUE (booking_id, kind, ordinal),
    -- The same of a manager.
    CONSTRAINT one_mail_of_a_payout UNIQUE (payout_id, member_id, kind),
    -- A mail about nothing, or to two people.
    CONSTRAINT mail_is_about_one CHECK (num_nonnulls(booking_id, invitation_id, payout_id) = 1),
    -- A mail to nobody.
    CONSTRAINT mail_of_a_payout_goes_to_somebody CHECK ((payout_id IS NULL) = (member_id IS NULL)),
    CONSTRAINT mail_kind_is_known CHECK (kind IN (
        'confirmed', 'cancelled', 'expired', 'failed',  -- what a booking became
        'refunded',                                     -- Stripe took a refund
        'returned',                                     -- what was paid and bought nothing went back
        'event_changed',                                -- another time, or another place
        'invited',                                      -- an account, or a new password
        'payout_failed')),                              -- a bank refused an organisation's money
    -- An invitation that tells of a booking, or the other way round.
    CONSTRAINT mail_kind_fits CHECK (
        (kind = 'invited') = (invitation_id IS NOT NULL) AND (kind = 'payout_failed') = (payout_id IS NOT NULL)),
    -- A mail that was sent and never will be.
    CONSTRAINT mail_ends_once CHECK (num_nonnulls(sent, given_up) < 2)
);
-- Invitations are swept away, and their mails with them.
CREATE INDEX mail_by_invitation ON mail (invitation_id) WHERE invitation_id IS NOT NULL;
-- As are those of whoever works here no more.
CREATE INDEX mail_by_member ON mail (member_id) WHERE member_id IS NOT NULL;
-- What is due; what was sent, which is nearly all, is not searched for it.
CREATE INDEX mail_open ON mail (due) WHERE sent IS NULL AND given_up IS NULL;

-- Where no mail server is set and the mailbox is on: what would have been sent.
CREATE TABLE mail_kept (
    mail_id    bigint PRIMARY KEY REFERENCES mail ON DELETE CASCADE,
    recipient  text NOT NULL,
    subject    text NOT NULL,
    body       text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);

-- Another one of a kind that may come more than once.
CREATE FUNCTION write_next_mail(booking text, what text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO mail (booking_id, kind, ordinal)
    SELECT booking, what, coalesce(max(ordinal), 0) + 1 FROM mail WHERE booking_id = booking AND kind = what;
$$;

-- Tells a buyer what became of the booking.
CREATE FUNCTION mail_of_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mail (booking_id, kind) VALUES (NEW.id, NEW.state) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
-- Of a dispute the buyer knows already, and of one that they lost their bank tells them.
CREATE TRIGGER mail_of_moves AFTER UPDATE ON booking FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND OLD.state <> 'disputed' AND NEW.buyer_email IS NOT NULL AND NEW.state IN (
        'confirmed', 'cancelled', 'expired', 'failed'))
    EXECUTE FUNCTION mail_of_moves();

-- Tells of every refund that Stripe took, whatever the booking is afterwards.
CREATE FUNCTION mail_of_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Whoever bought at the counter may have left no address.
    PERFORM write_next_mail(id, 'refunded') FROM booking WHERE id = NEW.booking_id AND buyer_email IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER mail_of_refunds AFTER UPDATE ON refund FOR EACH ROW
    WHEN (OLD.accepted IS NULL AND NEW.accepted IS NOT NULL) EXECUTE FUNCTION mail_of_refunds();

-- Tells of what was paid and bought nothing, once Stripe has taken its refund.
CREATE FUNCTION mail_of_surplus() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_next_mail(id, 'returned') FROM booking WHERE id = NEW.booking_id AND buyer_email IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER mail_of_surplus AFTER UPDATE ON surplus_payment FOR EACH ROW
    WHEN (OLD.returned IS NULL AND NEW.returned IS NOT NULL) EXECUTE FUNCTION mail_of_surplus();

-- Tells all who have bought of another time or place.
CREATE FUNCTION mail_of_changed_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_next_mail(id, 'event_changed') FROM booking
    WHERE event_id = NEW.id AND state IN ('authorized', 'confirmed', 'partially_refunded', 'disputed')
      AND buyer_email IS NOT NULL ORDER BY id;
    RETURN NULL;
END $$;
CREATE TRIGGER mail_of_changed_event AFTER UPDATE ON event FOR EACH ROW
    WHEN ((OLD.starts_at, OLD.venue) IS DISTINCT FROM (NEW.starts_at, NEW.venue))
    EXECUTE FUNCTION mail_of_changed_event();

-- Tells an organisation's managers that a bank refused its money, or the administrators where it has none.
CREATE FUNCTION mail_of_payouts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mail (payout_id, member_id, kind)
    SELECT NEW.stripe_id, s.id, 'payout_failed' FROM organisation_member m JOIN staff s ON s.id = m.member_id
    WHERE m.organisation_id = NEW.organisation_id AND s.roles && '{manager,admin}';
    IF NOT FOUND THEN
        INSERT INTO mail (payout_id, member_id, kind)
        SELECT NEW.stripe_id, id, 'payout_failed' FROM staff WHERE 'admin' = ANY (roles);
    END IF;
    RETURN NULL;
END $$;
-- Of one that is seen for the first time long after, everybody has heard.
CREATE TRIGGER mail_of_new_payouts AFTER INSERT ON payout FOR EACH ROW
    WHEN (NEW.state = 'failed' AND NEW.amount > 0 AND NEW.created > now() - interval '30 days')
    EXECUTE FUNCTION mail_of_payouts();
CREATE TRIGGER mail_of_payouts AFTER UPDATE ON payout FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND NEW.state = 'failed' AND NEW.amount > 0) EXECUTE FUNCTION mail_of_payouts();


-- === 11. Requests that are sent again ================================================================================

-- The stored answers that make a repeated POST harmless (`Idempotency-Key`).
CREATE TABLE idempotency_key (
    caller        text NOT NULL,
    method        text NOT NULL,
    path          text NOT NULL,
    key           text NOT NULL,
    request_hash  bytea NOT NULL,             -- another request under the same key is refused
    attempt       integer NOT NULL DEFAULT 1, -- rises when a request takes over from one that died
    status        integer,                    -- NULL while the first request still runs
    body          bytea,
    location      text,                       -- the answer's Location header
    created       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, method, path, key),
    -- Half an answer.
    CONSTRAINT answer_is_whole CHECK ((status IS NULL) = (body IS NULL))
);
-- Those of yesterday are swept away.
CREATE INDEX idempotency_key_by_age ON idempotency_key (created);


-- === 12. Who did what: the status-change log and the audit trail =====================================================

-- What staff did to seats and places, and every sale and its undoing. Only ever added to. Holders' own holds and releases
-- are not in it: those are in the event's log in Redis, as far back as that goes.
CREATE TABLE status_change (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id    text NOT NULL REFERENCES event,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    act         text NOT NULL,
    seat_id     text,
    area_id     text,
    quantity    integer,                      -- places of the area
    status      text,                         -- what it is from here on; NULL: what it was before
    hold_id     text,
    holder      text,
    booking_id  text,
    channel     text,                         -- of assign, open, and a withdrawn assign; 'open' is what all sell
    staff_id    text,                         -- NULL: a buyer's doing
    reason      text,                         -- of a sale at the counter: why, or for what
    origin      text DEFAULT nullif(current_setting('lml.origin', true), ''),   -- stands for a network address
    worker      text DEFAULT current_setting('application_name', true),         -- the program that was connected
    CONSTRAINT status_change_act_is_known CHECK (act IN (
        'block', 'unblock',  -- off sale, and on again
        'withdraw',          -- a block or assignment that was written and then refused by the inventory: it was held
        'hold', 'release',   -- of a hold for a customer
        'move',              --   the same onto other places
        'sell', 'free',      -- written by the triggers below, whoever sells; with a clerk where that was at the counter
        'assign', 'open')),  -- to a channel; to all
    CONSTRAINT status_change_status_is_known CHECK (status IN (
        'available', 'held', 'sold',
        'house', 'kill')),   -- blocked, and how
    -- A change of nothing, of two things, or of an unknown number of places.
    CONSTRAINT status_change_is_of_a_seat_or_an_area CHECK (
        num_nonnulls(seat_id, area_id) = 1 AND (area_id IS NULL) = (quantity IS NULL)),
    -- A change that nobody has made.
    CONSTRAINT status_change_has_somebody CHECK (num_nonnulls(staff_id, booking_id) > 0),
    -- An assignment to nobody knows whom.
    CONSTRAINT status_change_names_its_channel CHECK (act NOT IN ('assign', 'open') OR channel IS NOT NULL)
);
-- What happened at an event since a time.
CREATE INDEX status_change_by_time ON status_change (event_id, at, number);
-- What happened to one seat.
CREATE INDEX status_change_by_seat ON status_change (event_id, seat_id, at, number) WHERE seat_id IS NOT NULL;

-- Only ever added to.
CREATE FUNCTION status_change_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the status-change log is only ever added to'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'status_change_stays';
END $$;
CREATE TRIGGER status_change_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON status_change
    FOR EACH STATEMENT EXECUTE FUNCTION status_change_stays();

-- How a place may move, and while its booking is what. Asked of each place that the log below looks at anyway, in the same
-- statement: one of its own would cost far more. SQL, so that PostgreSQL puts it where it is asked.
CREATE FUNCTION place_may_move(was text, is_now text, booking text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN was = is_now THEN true
                WHEN was = 'claimed' AND is_now = 'sold' THEN booking IN ('authorized', 'confirmed')
                WHEN was = 'claimed' AND is_now = 'released' THEN booking IN ('cancelled', 'expired', 'failed')
                WHEN was = 'sold' AND is_now = 'released' THEN booking IN (
                    'confirmed', 'partially_refunded', 'refunded', 'disputed', 'charged_back', 'failed')
                ELSE false END;
$$;
-- Whatever else a place should become.
CREATE FUNCTION refuse_place(place text, was text, is_now text, booking text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'place % may not go from % to % while its booking is %', place, was, is_now, booking
        USING ERRCODE = 'check_violation', CONSTRAINT = 'places_follow_their_booking';
END $$;

-- Tells of seats that were sold, or set free, and refuses those that go where their booking is not; one insert a statement,
-- however many it sells.
CREATE FUNCTION booking_seats_sold_or_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change (event_id, act, seat_id, status, hold_id, holder, booking_id, staff_id, reason)
    SELECT now_is.event_id, CASE now_is.state WHEN 'sold' THEN 'sell' ELSE 'free' END, now_is.seat_id,
           CASE now_is.state WHEN 'sold' THEN 'sold' ELSE 'available' END, b.hold_id, b.holder, b.id,
           CASE now_is.state WHEN 'sold' THEN b.staff_id END,
           CASE now_is.state WHEN 'sold' THEN coalesce(b.reason, b.tender) END
    FROM now_is
    JOIN was ON was.booking_id = now_is.booking_id AND was.seat_id = now_is.seat_id
    JOIN booking b ON b.id = now_is.booking_id
    WHERE CASE WHEN place_may_move(was.state, now_is.state, b.state)
               THEN was.state <> now_is.state AND 'sold' IN (was.state, now_is.state)
               ELSE refuse_place(now_is.seat_id, was.state, now_is.state, b.state) END
    ORDER BY now_is.seat_id;
    RETURN NULL;
END $$;
CREATE TRIGGER booking_seats_sold_or_freed AFTER UPDATE ON booking_seat
    REFERENCING OLD TABLE AS was NEW TABLE AS now_is
    FOR EACH STATEMENT EXECUTE FUNCTION booking_seats_sold_or_freed();

-- The same of places. A part of a booking's places in an area may go back: its row then counts fewer, and the log says
-- how many went.
CREATE FUNCTION booking_areas_sold_or_freed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_change (event_id, act, area_id, quantity, status, hold_id, holder, booking_id, staff_id, reason)
    SELECT now_is.event_id,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN 'sell' ELSE 'free' END,
           now_is.area_id,
           CASE WHEN was.state = now_is.state THEN was.quantity - now_is.quantity ELSE now_is.quantity END,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN 'sold' ELSE 'available' END,
           b.hold_id, b.holder, b.id,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN b.staff_id END,
           CASE WHEN was.state <> now_is.state AND now_is.state = 'sold' THEN coalesce(b.reason, b.tender) END
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
CREATE TRIGGER booking_areas_sold_or_freed AFTER UPDATE ON booking_area
    REFERENCING OLD TABLE AS was NEW TABLE AS now_is
    FOR EACH STATEMENT EXECUTE FUNCTION booking_areas_sold_or_freed();

-- Acts that no other log has: events, prices, channels, staff, keys, layouts, money back, accounts. Plain inserts of the
-- transaction that acts; no foreign key, so that nothing keeps a record or takes it along.
CREATE TABLE audit_record (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id      text,                       -- NULL: of the house
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_kind    text NOT NULL DEFAULT coalesce(nullif(current_setting('lml.actor_kind', true), ''), 'system'),
    actor_id      text DEFAULT nullif(current_setting('lml.actor_id', true), ''),
    action        text NOT NULL,
    subject_kind  text NOT NULL,
    subject_id    text NOT NULL,
    reason        text,
    origin        text DEFAULT nullif(current_setting('lml.origin', true), ''),  -- stands for a network address
    worker        text DEFAULT current_setting('application_name', true),        -- the program that was connected
    detail        jsonb,
    CONSTRAINT audit_actor_is_known CHECK (actor_kind IN ('holder', 'staff', 'partner', 'system'))  -- As of bookings.
);
-- Few of very many: what a layout's versions are on record with is asked before each of its steps, and by the scrub.
CREATE INDEX audit_life_of_layouts ON audit_record (subject_id)
    WHERE action IN ('layout.published', 'layout.deployed', 'layout.retired',
                     'layout.saved', 'layout.imported', 'layout.begun', 'layout.restored');

-- The chains: one an event, and one (of no name) of the house. A link says which record of the three logs comes next, and
-- is hashed with the link before it (docs/decisions/016). Written after the commits, by one sequencer at a time, so that no
-- booking waits for another.
CREATE TABLE audit_link (
    chain   text NOT NULL,
    seq     bigint NOT NULL,
    log     text NOT NULL,
    number  bigint NOT NULL,
    hash    bytea NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Two links at one place would be two histories.
    PRIMARY KEY (chain, seq),
    -- Two sequencers that each think that they are the one chain nothing twice.
    CONSTRAINT one_link_per_record UNIQUE (log, number),
    CONSTRAINT link_log_is_known CHECK (log IN (
        'act',       -- audit_record
        'booking',   -- booking_history
        'seat')),    -- status_change
    -- A shorter hash proves less.
    CONSTRAINT link_hash_is_sha256 CHECK (octet_length(hash) = 32)
);

-- Up to where each log is chained without a gap that somebody may still fill: a hint for the sequencer, and no proof.
CREATE TABLE audit_floor (
    log          text PRIMARY KEY,
    number       bigint NOT NULL DEFAULT 0,
    next_number  bigint,                      -- the floor to come …
    next_xid     bigint,                      -- … once every transaction before this one has ended
    next_at      timestamptz
);

-- What was written to the object store, and where: there it is out of this database's reach.
CREATE TABLE audit_anchor (
    number  bigint PRIMARY KEY,
    hash    bytea NOT NULL,                   -- SHA-256 of the whole manifest
    links   bigint NOT NULL,                  -- how many it covers
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- A shorter hash proves less.
    CONSTRAINT anchor_hash_is_sha256 CHECK (octet_length(hash) = 32)
);

-- Only ever added to.
CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is only ever added to'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_stays';
END $$;
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON booking_history
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_link
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_anchor
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();

-- Tells of rows that were made, changed or removed. Arguments: what they are called, the column that names one, the
-- column with its event ('' for none, booking_id for the booking's), columns whose values are nobody's business, columns
-- that are none of a trail's. A refund that was made at Stripe is no clerk's act: its row names none.
CREATE FUNCTION audit_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    secret text[] := TG_ARGV[3]::text[];
    was    jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - TG_ARGV[4]::text[] END;
    is_now jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - TG_ARGV[4]::text[] END;
    one    jsonb := coalesce(is_now, was);
    told   jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(key, CASE WHEN key = ANY (secret) THEN '"changed"'::jsonb
                                          ELSE jsonb_build_array(was -> key, value) END)
        INTO told FROM jsonb_each(is_now) WHERE was -> key IS DISTINCT FROM value;
        IF told IS NULL THEN
            RETURN NULL;
        END IF;
    ELSE
        told := jsonb_strip_nulls(one - secret - 'reason' - TG_ARGV[1]);
    END IF;
    INSERT INTO audit_record (event_id, action, subject_kind, subject_id, actor_kind, actor_id, reason, detail)
    VALUES (CASE TG_ARGV[2] WHEN 'booking_id' THEN (SELECT event_id FROM booking WHERE id = one ->> 'booking_id')
                            ELSE nullif(one ->> TG_ARGV[2], '') END,
            TG_ARGV[0] || CASE TG_OP WHEN 'INSERT' THEN '.made' WHEN 'UPDATE' THEN '.changed' ELSE '.removed' END,
            TG_ARGV[0], one ->> TG_ARGV[1],
            coalesce(nullif(current_setting('lml.actor_kind', true), ''),
                     CASE WHEN one ->> 'staff_id' IS NULL THEN 'system' ELSE 'staff' END),
            coalesce(nullif(current_setting('lml.actor_id', true), ''), one ->> 'staff_id'),
            one ->> 'reason', told);
    RETURN NULL;
END $$;
-- What adopt and the sale itself change many times an hour is not an act of anybody.
CREATE TRIGGER audit_events AFTER INSERT OR UPDATE OR DELETE ON event FOR EACH ROW
    EXECUTE FUNCTION audit_rows('event', 'id', 'id', '{}', '{revision,epoch,redis_run_id}');
CREATE TRIGGER audit_channels AFTER INSERT OR UPDATE OR DELETE ON event_channel FOR EACH ROW
    EXECUTE FUNCTION audit_rows('channel', 'name', 'event_id', '{}', '{told_at}');
CREATE TRIGGER audit_staff AFTER INSERT OR UPDATE OR DELETE ON staff FOR EACH ROW
    EXECUTE FUNCTION audit_rows('staff', 'id', '', '{password_hash}', '{}');
CREATE TRIGGER audit_partners AFTER INSERT OR UPDATE OR DELETE ON partner FOR EACH ROW
    EXECUTE FUNCTION audit_rows('partner', 'id', '', '{key_hash}', '{}');
CREATE TRIGGER audit_refunds AFTER INSERT OR UPDATE OR DELETE ON refund FOR EACH ROW
    EXECUTE FUNCTION audit_rows('refund', 'id', 'booking_id', '{}', '{looked_at}');
CREATE TRIGGER audit_disputes AFTER INSERT OR UPDATE OR DELETE ON dispute FOR EACH ROW
    EXECUTE FUNCTION audit_rows('dispute', 'id', 'booking_id', '{}', '{looked_at}');
CREATE TRIGGER audit_surplus_disputes AFTER INSERT OR UPDATE ON surplus_dispute FOR EACH ROW
    EXECUTE FUNCTION audit_rows('surplus_dispute', 'id', 'booking_id', '{}', '{looked_at}');
CREATE TRIGGER audit_evidence AFTER INSERT OR UPDATE OR DELETE ON dispute_evidence FOR EACH ROW
    EXECUTE FUNCTION audit_rows('evidence', 'dispute_id', 'booking_id', '{body}', '{}');
-- Who has an account, and since when.
CREATE TRIGGER audit_accounts AFTER INSERT OR UPDATE OR DELETE ON account FOR EACH ROW
    EXECUTE FUNCTION audit_rows('account', 'id', '', '{password_hash,email}', '{}');
-- Whose saved cards are gone with their customer.
CREATE TRIGGER audit_customers AFTER UPDATE ON stripe_customer FOR EACH ROW WHEN (OLD.gone <> NEW.gone)
    EXECUTE FUNCTION audit_rows('stripe_customer', 'account_id', '', '{}', '{}');
-- Who signed in, and from where. That a session ends by itself is no act.
CREATE TRIGGER audit_sessions AFTER INSERT ON staff_session FOR EACH ROW
    EXECUTE FUNCTION audit_rows('session', 'staff_id', '', '{token_hash}', '{}');
CREATE TRIGGER audit_account_sessions AFTER INSERT ON account_session FOR EACH ROW
    EXECUTE FUNCTION audit_rows('session', 'account_id', '', '{id}', '{}');

-- A price list is one record, however many prices it has.
CREATE FUNCTION audit_prices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO audit_record (event_id, action, subject_kind, subject_id, detail)
        SELECT event_id, 'prices.removed', 'event', event_id,
               jsonb_agg(to_jsonb(was) - 'event_id' ORDER BY position, category, type)
        FROM was GROUP BY event_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO audit_record (event_id, action, subject_kind, subject_id, detail)
        SELECT event_id, 'prices.made', 'event', event_id,
               jsonb_agg(to_jsonb(is_now) - 'event_id' ORDER BY position, category, type)
        FROM is_now GROUP BY event_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_prices_made AFTER INSERT ON event_price
    REFERENCING NEW TABLE AS is_now FOR EACH STATEMENT EXECUTE FUNCTION audit_prices();
CREATE TRIGGER audit_prices_changed AFTER UPDATE ON event_price
    REFERENCING OLD TABLE AS was NEW TABLE AS is_now FOR EACH STATEMENT EXECUTE FUNCTION audit_prices();
CREATE TRIGGER audit_prices_removed AFTER DELETE ON event_price
    REFERENCING OLD TABLE AS was FOR EACH STATEMENT EXECUTE FUNCTION audit_prices();


-- === 13. What organisations are paid: transfers, what comes back, what is owed =======================================

-- What is an organisation's of one booking: one row from when its money was captured, one transfer at Stripe.
CREATE TABLE transfer (
    booking_id       text PRIMARY KEY REFERENCES payment,
    event_id         text NOT NULL REFERENCES event,
    organisation_id  text NOT NULL REFERENCES organisation,
    state            text NOT NULL DEFAULT 'waiting',
    venue            bigint,                  -- of the ticket prices, without tax …
    tax              bigint,                  -- … the tax in them, which the organisation owes the state …
    fee              bigint,                  -- … less what we keep: so much was due when it was decided
    netted           bigint,                  -- what of it was kept for what the organisation owed
    sent             bigint,                  -- what is transferred
    account_id       text,                    -- where to
    stripe_id        text,                    -- tr_…, from when on Stripe has it
    created          timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided          timestamptz,
    made             timestamptz,
    -- What Stripe made once pays for one booking.
    CONSTRAINT one_transfer_per_stripe_id UNIQUE (stripe_id),
    CONSTRAINT transfer_state_is_known CHECK (state IN (
        'waiting',   -- not due, or not to be decided yet
        'decided',   -- in the outbox
        'made',      -- Stripe has it
        'nothing')), -- decided, and nothing was left to be sent
    -- Amounts are there from the decision on, all of them.
    CONSTRAINT transfer_is_decided_whole CHECK (
        num_nonnulls(venue, tax, fee, netted, sent, decided) = CASE WHEN state = 'waiting' THEN 0 ELSE 6 END),
    -- Nothing appears or is lost between what was due, what was kept and what is sent.
    CONSTRAINT transfer_adds_up CHECK (sent >= 0 AND netted >= 0 AND greatest(venue + tax - fee, 0) = sent + netted),
    -- Nothing is sent to nobody, and nobody is named where nothing is sent.
    CONSTRAINT transfer_goes_somewhere CHECK ((coalesce(sent, 0) > 0) = (account_id IS NOT NULL)
        AND (state IN ('decided', 'made')) = (account_id IS NOT NULL)),
    -- Stripe has it, and we know which: neither alone.
    CONSTRAINT transfer_is_made_whole CHECK (num_nonnulls(stripe_id, made) = CASE state WHEN 'made' THEN 2 ELSE 0 END)
);
-- What is looked through for what is due: what has been paid, which is nearly all, is not.
CREATE INDEX transfer_waiting ON transfer (event_id) WHERE state = 'waiting';
-- The statement of an event, some bookings at a time.
CREATE INDEX transfer_by_event ON transfer (event_id, booking_id);
-- The daily match.
CREATE INDEX transfer_by_time ON transfer (made) WHERE made IS NOT NULL;

-- What an organisation owes back of one, and why: decided with the refund or the lost dispute that caused it.
CREATE TABLE transfer_reversal (
    id          text PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES transfer,
    cause       text NOT NULL,                -- refund:… or dispute:…
    venue       bigint NOT NULL,
    tax         bigint NOT NULL,
    fee         bigint NOT NULL,              -- what we give back of ours
    sought      bigint NOT NULL,              -- what Stripe is asked to reverse; the rest is a receivable at once
    key         text NOT NULL,                -- the outbox's
    state       text NOT NULL DEFAULT 'pending',
    stripe_id   text,                         -- trr_…
    fault       text,                         -- why Stripe refused it
    created     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended       timestamptz,
    -- A refund or a dispute that is heard of twice takes its part back once.
    CONSTRAINT one_reversal_per_cause UNIQUE (booking_id, cause),
    -- A row of the outbox is for one.
    CONSTRAINT one_reversal_per_key UNIQUE (key),
    -- What came back once is counted once.
    CONSTRAINT one_reversal_per_stripe_id UNIQUE (stripe_id),
    -- Not more is asked of Stripe than is owed, and nothing of nothing.
    CONSTRAINT reversal_is_an_amount CHECK (sought BETWEEN 0 AND venue + tax - fee),
    CONSTRAINT reversal_state_is_known CHECK (state IN (
        'pending',   -- in the outbox
        'made',      -- Stripe has taken it back
        'refused',   -- Stripe will not: a receivable
        'nothing')), -- there was nothing to be taken back at Stripe: a receivable
    -- Where nothing is asked of Stripe, nothing is waited for.
    CONSTRAINT reversal_of_nothing_ends CHECK ((sought = 0) = (state = 'nothing')),
    -- It ends, and Stripe names what it made.
    CONSTRAINT reversal_is_made_whole CHECK (
        (state = 'pending') = (ended IS NULL) AND (state = 'made') = (stripe_id IS NOT NULL))
);
-- The daily match.
CREATE INDEX reversal_by_time ON transfer_reversal (ended) WHERE stripe_id IS NOT NULL;

-- What is due after all, because the bank gave back what it had taken, or what it was sent came back for no reason of
-- ours: a transfer of its own.
CREATE TABLE transfer_again (
    id          text PRIMARY KEY,
    booking_id  text NOT NULL REFERENCES transfer,
    cause       text NOT NULL,                -- dispute:…, the reversal's, where there was one; or reversal:trr_…
    venue       bigint NOT NULL,
    tax         bigint NOT NULL,
    fee         bigint NOT NULL,              -- what we keep of it again
    returned    bigint NOT NULL DEFAULT 0,    -- what came back for no reason of ours: nobody's parts change
    netted      bigint NOT NULL,              -- what of it was kept for what the organisation owed
    sent        bigint NOT NULL,              -- what is transferred
    account_id  text NOT NULL,                -- where to
    key         text NOT NULL,                -- the outbox's
    state       text NOT NULL,
    stripe_id   text,                         -- tr_…
    created     timestamptz NOT NULL DEFAULT clock_timestamp(),
    made        timestamptz,
    -- A bank that is heard of twice has given back once.
    CONSTRAINT one_transfer_again_per_cause UNIQUE (booking_id, cause),
    -- A row of the outbox is for one.
    CONSTRAINT one_transfer_again_per_key UNIQUE (key),
    -- What Stripe made once is counted once.
    CONSTRAINT one_transfer_again_per_stripe_id UNIQUE (stripe_id),
    CONSTRAINT again_state_is_known CHECK (state IN (
        'decided',   -- in the outbox
        'made',      -- Stripe has it
        'nothing')), -- all of it was kept
    -- Nothing appears or is lost between what was taken back, what is kept and what is sent.
    CONSTRAINT again_adds_up CHECK (sent >= 0 AND netted >= 0 AND sent + netted = venue + tax - fee + returned),
    -- A part of a booking that is due again, or what had been sent of it: never both.
    CONSTRAINT again_is_for_one_reason CHECK (
        returned >= 0 AND (returned = 0 OR (venue, tax, fee) = (0, 0, 0))),
    -- Where nothing is sent, nothing is waited for.
    CONSTRAINT again_of_nothing_ends CHECK ((sent = 0) = (state = 'nothing')),
    -- Stripe has it, and we know which: neither alone.
    CONSTRAINT again_is_made_whole CHECK (num_nonnulls(stripe_id, made) = CASE state WHEN 'made' THEN 2 ELSE 0 END)
);
-- The daily match.
CREATE INDEX transfer_again_by_time ON transfer_again (made) WHERE made IS NOT NULL;

-- What Stripe made besides, for two calls under two keys have both worked: it is owed, and reversed.
CREATE TABLE surplus_transfer (
    stripe_id    text PRIMARY KEY,            -- tr_…
    booking_id   text NOT NULL REFERENCES transfer,
    amount       bigint NOT NULL,
    state        text NOT NULL DEFAULT 'found',
    key          text NOT NULL,               -- the outbox's
    reversal_id  text,                        -- trr_…
    fault        text,                        -- why Stripe refused it
    created      timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended        timestamptz,
    -- A row of the outbox is for one.
    CONSTRAINT one_surplus_per_key UNIQUE (key),
    -- Nothing is no transfer.
    CONSTRAINT surplus_is_an_amount CHECK (amount > 0),
    CONSTRAINT surplus_state_is_known CHECK (state IN (
        'found',      -- its reversal is in the outbox
        'reversed',   -- Stripe has taken it back
        'refused')),  -- Stripe will not: a receivable
    -- It ends, and Stripe names what it made.
    CONSTRAINT surplus_ends_whole CHECK (
        (state = 'found') = (ended IS NULL) AND (state = 'reversed') = (reversal_id IS NOT NULL))
);
-- The daily match, and the statement.
CREATE INDEX surplus_by_booking ON surplus_transfer (booking_id);

-- What Stripe took back of a transfer though nobody here decided it: by hand, or twice, as two calls under two keys can. It
-- is the organisation's still, and sent again, less what it owes.
CREATE TABLE surplus_reversal (
    stripe_id    text PRIMARY KEY,            -- trr_…
    booking_id   text NOT NULL REFERENCES transfer,
    transfer_id  text NOT NULL,               -- tr_…: of a transfer, of one that was sent again, or of a surplus one
    amount       bigint NOT NULL,
    found        timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Nothing came back.
    CONSTRAINT surplus_reversal_is_an_amount CHECK (amount > 0)
);
-- The daily match, and the statement.
CREATE INDEX surplus_reversal_by_booking ON surplus_reversal (booking_id);
CREATE TRIGGER surplus_reversals_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON surplus_reversal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- What could not be taken back: it is kept of what the organisation is due next.
CREATE TABLE receivable (
    id               text PRIMARY KEY,
    organisation_id  text NOT NULL REFERENCES organisation,
    booking_id       text NOT NULL REFERENCES transfer,
    amount           bigint NOT NULL,         -- minor units of the organisation's currency
    recovered        bigint NOT NULL DEFAULT 0,
    reason           text NOT NULL,
    created          timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Nobody owes nothing.
    CONSTRAINT receivable_is_an_amount CHECK (amount > 0),
    -- Not more is kept of transfers than is owed.
    CONSTRAINT receivable_is_recovered_once CHECK (recovered BETWEEN 0 AND amount)
);
-- The statement.
CREATE INDEX receivable_by_booking ON receivable (booking_id);
-- What the next transfer is kept for, the oldest first.
CREATE INDEX receivable_open ON receivable (organisation_id, created, id) WHERE recovered < amount;

-- Which transfer was kept for which receivable.
CREATE TABLE netting (
    receivable_id  text NOT NULL REFERENCES receivable,
    booking_id     text NOT NULL REFERENCES transfer,
    amount         bigint NOT NULL,
    PRIMARY KEY (receivable_id, booking_id),
    -- Nothing is kept of nothing.
    CONSTRAINT netting_is_an_amount CHECK (amount > 0)
);

-- From when a booking's money is at Stripe, a part of it is somebody's: the row is there before anybody could ask. What
-- was taken at the counter is not at Stripe, and nothing of it can be transferred there (docs/decisions/023).
CREATE FUNCTION transfer_awaits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transfer (booking_id, event_id, organisation_id)
    SELECT NEW.id, NEW.event_id, v.organisation_id
    FROM event e JOIN venue v ON v.id = e.venue_id WHERE e.id = NEW.event_id
    ON CONFLICT (booking_id) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER transfer_awaits AFTER UPDATE ON booking FOR EACH ROW
    WHEN (NEW.state = 'confirmed' AND NEW.amount > 0 AND NEW.tender IS NULL
          AND OLD.state IN ('pending_payment', 'cancelling', 'expiring', 'authorized'))
    EXECUTE FUNCTION transfer_awaits();

-- To nobody's account but the organisation's, never more than there is, decided once (reliability.md, I16).
CREATE FUNCTION transfer_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER transfer_keeps_within BEFORE UPDATE ON transfer FOR EACH ROW EXECUTE FUNCTION transfer_keeps_within();

-- Never more comes back than went, and once it has ended it stays.
CREATE FUNCTION reversal_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.state <> 'pending' OR (OLD.id, OLD.booking_id, OLD.cause, OLD.venue, OLD.tax, OLD.fee, OLD.sought, OLD.key)
           IS DISTINCT FROM (NEW.id, NEW.booking_id, NEW.cause, NEW.venue, NEW.tax, NEW.fee, NEW.sought, NEW.key) THEN
            RAISE EXCEPTION 'reversal % ended otherwise', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'reversal_stays';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.sought > (SELECT coalesce(t.sent, 0) FROM transfer t WHERE t.booking_id = NEW.booking_id FOR UPDATE)
       - (SELECT coalesce(sum(sought), 0) FROM transfer_reversal
          WHERE booking_id = NEW.booking_id AND state <> 'refused')
       - (SELECT coalesce(sum(s.amount), 0) FROM surplus_reversal s JOIN transfer t ON t.stripe_id = s.transfer_id
          WHERE t.booking_id = NEW.booking_id) THEN
        RAISE EXCEPTION 'booking % reverses more than was transferred', NEW.booking_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reversal_is_within_transfer';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER reversal_keeps_within BEFORE INSERT OR UPDATE ON transfer_reversal FOR EACH ROW
    EXECUTE FUNCTION reversal_keeps_within();

-- For a dispute that was won after all, to its organisation, never more than there is then; or just what came back though
-- nobody decided it. And decided once.
CREATE FUNCTION again_keeps_within() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    decided bigint;
    kept bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.state <> 'decided'
           OR (OLD.id, OLD.booking_id, OLD.cause, OLD.venue, OLD.tax, OLD.fee, OLD.returned, OLD.netted, OLD.sent,
               OLD.account_id, OLD.key)
              IS DISTINCT FROM
              (NEW.id, NEW.booking_id, NEW.cause, NEW.venue, NEW.tax, NEW.fee, NEW.returned, NEW.netted, NEW.sent,
               NEW.account_id, NEW.key)
        THEN
            RAISE EXCEPTION '% was decided otherwise', OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'again_stays_as_decided';
        END IF;
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM dispute d
                   WHERE d.booking_id = NEW.booking_id AND NEW.cause = 'dispute:' || d.id AND d.state = 'won'
                     AND NEW.returned = 0
                   UNION ALL
                   SELECT FROM surplus_reversal s
                   WHERE s.booking_id = NEW.booking_id AND NEW.cause = 'reversal:' || s.stripe_id
                     AND NEW.returned = s.amount) THEN
        RAISE EXCEPTION 'booking % is sent again what nobody gave back', NEW.booking_id
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
    IF decided IS NULL OR NEW.returned = 0 AND decided + NEW.venue + NEW.tax > kept THEN
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
CREATE TRIGGER again_keeps_within BEFORE INSERT OR UPDATE ON transfer_again FOR EACH ROW
    EXECUTE FUNCTION again_keeps_within();

-- What it was stays, and how it ended.
CREATE FUNCTION surplus_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the surplus transfer % ended otherwise', OLD.stripe_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'surplus_stays';
END $$;
CREATE TRIGGER surplus_stays BEFORE UPDATE ON surplus_transfer FOR EACH ROW
    WHEN (OLD.state <> 'found' OR (OLD.stripe_id, OLD.booking_id, OLD.amount, OLD.key)
          IS DISTINCT FROM (NEW.stripe_id, NEW.booking_id, NEW.amount, NEW.key))
    EXECUTE FUNCTION surplus_stays();

-- What was paid is never forgotten.
CREATE FUNCTION transfers_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was paid is never forgotten'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'transfers_stay';
END $$;
CREATE TRIGGER transfers_stay BEFORE DELETE ON transfer FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER transfers_stay BEFORE DELETE ON transfer_reversal FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER transfers_stay BEFORE DELETE ON transfer_again FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER transfers_stay BEFORE DELETE ON surplus_transfer FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER transfers_stay BEFORE DELETE ON receivable FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();
CREATE TRIGGER transfers_stay BEFORE DELETE ON payout FOR EACH STATEMENT EXECUTE FUNCTION transfers_stay();

CREATE TRIGGER audit_transfers AFTER UPDATE OR DELETE ON transfer FOR EACH ROW
    EXECUTE FUNCTION audit_rows('transfer', 'booking_id', 'booking_id', '{}', '{}');
CREATE TRIGGER audit_reversals AFTER INSERT OR UPDATE OR DELETE ON transfer_reversal FOR EACH ROW
    EXECUTE FUNCTION audit_rows('reversal', 'id', 'booking_id', '{}', '{}');
CREATE TRIGGER audit_transfers_again AFTER INSERT OR UPDATE OR DELETE ON transfer_again FOR EACH ROW
    EXECUTE FUNCTION audit_rows('transfer_again', 'id', 'booking_id', '{}', '{}');
CREATE TRIGGER audit_surplus AFTER INSERT OR UPDATE OR DELETE ON surplus_transfer FOR EACH ROW
    EXECUTE FUNCTION audit_rows('surplus_transfer', 'stripe_id', 'booking_id', '{}', '{}');
CREATE TRIGGER audit_surplus_reversals AFTER INSERT ON surplus_reversal FOR EACH ROW
    EXECUTE FUNCTION audit_rows('surplus_reversal', 'stripe_id', 'booking_id', '{}', '{}');
CREATE TRIGGER audit_receivables AFTER INSERT OR UPDATE OR DELETE ON receivable FOR EACH ROW
    EXECUTE FUNCTION audit_rows('receivable', 'id', 'booking_id', '{}', '{}');
CREATE TRIGGER audit_payouts AFTER INSERT OR UPDATE OR DELETE ON payout FOR EACH ROW
    EXECUTE FUNCTION audit_rows('payout', 'stripe_id', '', '{}', '{seen}');

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
    EXECUTE FUNCTION audit_rows('connected_account', 'organisation_id', '', '{}', '{looked_at,noticed,payouts_looked_at}');
