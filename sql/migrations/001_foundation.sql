-- The foundation: the house itself, staff, events with their prices, and the tables that *adopt* reads
-- (epochs, claims, blocks). A migration that has landed is never edited; a change is a new file.

-- One row: what all servers of a house share.
CREATE TABLE house (
    only_one  boolean PRIMARY KEY DEFAULT true,
    secret    bytea NOT NULL,                 -- signs holder tokens
    created   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT house_is_one_row CHECK (only_one),
    CONSTRAINT house_secret_is_long CHECK (octet_length(secret) >= 32)
);

CREATE TABLE staff (
    id             text PRIMARY KEY,
    email          text NOT NULL,             -- lower case
    password_hash  text NOT NULL,             -- argon2id
    roles          text[] NOT NULL,
    created        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_staff_per_email UNIQUE (email),
    CONSTRAINT staff_email_is_lower_case CHECK (email = lower(email)),
    CONSTRAINT staff_roles_are_known CHECK (roles <@ ARRAY['box_office', 'manager', 'admin'] AND cardinality(roles) > 0)
);

CREATE TABLE staff_session (
    token_hash  bytea PRIMARY KEY,            -- SHA-256 of the token: a stolen table signs nobody in
    staff_id    text NOT NULL REFERENCES staff ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL,
    created     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX staff_session_by_end ON staff_session (expires_at);

-- How often somebody tried to sign in lately, by e-mail address and by network address; all workers count together.
CREATE TABLE sign_in_attempt (
    subject   bytea PRIMARY KEY,              -- SHA-256 of `email …` or `address …`: no list of who tried
    attempts  integer NOT NULL,
    since     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_attempt_by_age ON sign_in_attempt (since);

CREATE TABLE event (
    id                text PRIMARY KEY,
    number            bigint GENERATED ALWAYS AS IDENTITY,  -- short, stands at the head of every hold id
    group_id          text NOT NULL,
    name              text NOT NULL,
    venue             text NOT NULL,
    starts_at         timestamptz NOT NULL,
    on_sale_at        timestamptz NOT NULL,
    state             text NOT NULL DEFAULT 'draft',
    currency          text NOT NULL,
    layout_id         text NOT NULL,
    layout_version    integer NOT NULL,
    layout_hash       text NOT NULL,
    seat_count        integer NOT NULL,
    max_seats         integer NOT NULL,
    hold_seconds      integer NOT NULL,
    extensions        integer NOT NULL,
    lifetime_seconds  integer NOT NULL,
    tick_ms           integer,                -- NULL: the server's setting
    revision          bigint NOT NULL DEFAULT 1,  -- rises with state, on-sale time and limits; part of the book's stamp
    prices_version    bigint NOT NULL DEFAULT 1,
    epoch             bigint NOT NULL DEFAULT 0,  -- 0: no inventory was ever built; only adopt raises it
    redis_run_id      text,                   -- the Redis process that this epoch lives in
    created           timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT event_number_is_unique UNIQUE (number),
    CONSTRAINT event_id_is_an_id CHECK (id ~ '^[A-Za-z0-9-]{1,64}$'),
    CONSTRAINT event_group_is_an_id CHECK (group_id ~ '^[A-Za-z0-9-]{1,64}$'),
    CONSTRAINT event_state_is_known CHECK (state IN ('draft', 'open', 'paused', 'closed')),
    CONSTRAINT event_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT event_limits_agree CHECK (
        max_seats BETWEEN 1 AND 50 AND hold_seconds BETWEEN 1 AND 86400 AND extensions BETWEEN 0 AND 20
        AND lifetime_seconds BETWEEN hold_seconds AND 604800)
);
CREATE INDEX event_by_start ON event (starts_at, id);

CREATE TABLE event_price (
    event_id  text NOT NULL REFERENCES event ON DELETE CASCADE,
    category  text NOT NULL,
    type      text NOT NULL,
    label     text NOT NULL,
    amount    bigint NOT NULL,                -- minor units, fee not included, tax included
    fee       bigint NOT NULL,                -- minor units, tax included
    tax_rate  numeric(5, 2) NOT NULL,         -- percent contained in amount and fee
    position  integer NOT NULL,
    CONSTRAINT one_price_per_category_and_type PRIMARY KEY (event_id, category, type),
    CONSTRAINT price_is_an_amount CHECK (amount BETWEEN 0 AND 1000000000000 AND fee BETWEEN 0 AND 1000000000000),
    CONSTRAINT price_tax_is_a_rate CHECK (tax_rate >= 0 AND tax_rate < 100)
);

CREATE TABLE event_area (
    event_id  text NOT NULL REFERENCES event ON DELETE CASCADE,
    area_id   text NOT NULL,
    name      text NOT NULL,
    category  text NOT NULL,
    capacity  integer NOT NULL,
    position  integer NOT NULL,
    PRIMARY KEY (event_id, area_id),
    CONSTRAINT area_has_room CHECK (capacity > 0)
);

-- What staff took off sale. Written before Redis; adopt lays it over the inventory.
CREATE TABLE seat_block (
    event_id  text NOT NULL REFERENCES event ON DELETE CASCADE,
    seat_id   text NOT NULL,
    kind      text NOT NULL,                  -- house: staff may sell from it; kill: nobody may
    reason    text NOT NULL,
    staff_id  text NOT NULL,
    created   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, seat_id),
    CONSTRAINT seat_block_kind_is_known CHECK (kind IN ('house', 'kill'))
);

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
    CONSTRAINT area_block_kind_is_known CHECK (kind IN ('house', 'kill')),
    CONSTRAINT area_block_is_something CHECK (quantity > 0)
);

-- What a hold becomes at checkout: the durable claim, later the sale.
CREATE TABLE booking (
    id             text PRIMARY KEY,
    event_id       text NOT NULL REFERENCES event,
    hold_id        text NOT NULL,
    holder         text NOT NULL,
    epoch          bigint NOT NULL,           -- the fence: the inventory's epoch when the hold was marked
    state          text NOT NULL,
    hold_created   timestamptz NOT NULL,
    lifetime_end   timestamptz NOT NULL,
    created        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT booking_state_is_known CHECK (state IN (
        'pending_payment', 'authorized', 'confirmed', 'partially_refunded', 'refunded', 'disputed', 'charged_back',
        'cancelling', 'cancelled', 'expiring', 'expired', 'failed'))
);
CREATE INDEX booking_by_event ON booking (event_id, created, id);

CREATE TABLE booking_seat (
    booking_id  text NOT NULL REFERENCES booking,
    event_id    text NOT NULL REFERENCES event,
    seat_id     text NOT NULL,
    type        text NOT NULL,
    state       text NOT NULL,
    PRIMARY KEY (booking_id, seat_id),
    CONSTRAINT booking_seat_state_is_known CHECK (state IN ('claimed', 'sold', 'released'))
);
-- The last guard against a double sale: one live claim or sale per event and seat (reliability.md, D1).
CREATE UNIQUE INDEX one_sale_per_seat ON booking_seat (event_id, seat_id) WHERE state IN ('claimed', 'sold');

CREATE TABLE booking_area (
    booking_id  text NOT NULL REFERENCES booking,
    event_id    text NOT NULL,
    area_id     text NOT NULL,
    type        text NOT NULL,
    quantity    integer NOT NULL,
    state       text NOT NULL,
    PRIMARY KEY (booking_id, area_id, type),
    FOREIGN KEY (event_id, area_id) REFERENCES event_area,
    CONSTRAINT booking_area_is_something CHECK (quantity > 0),
    CONSTRAINT booking_area_state_is_known CHECK (state IN ('claimed', 'sold', 'released'))
);
CREATE INDEX booking_area_live ON booking_area (event_id, area_id) WHERE state IN ('claimed', 'sold');

-- The stored answers that make a repeated POST harmless (contract, section 2).
CREATE TABLE idempotency_key (
    caller        text NOT NULL,
    method        text NOT NULL,
    path          text NOT NULL,
    key           text NOT NULL,
    request_hash  bytea NOT NULL,
    attempt       integer NOT NULL DEFAULT 1, -- rises when a request takes over from one that died
    status        integer,                    -- NULL while the first request still runs
    body          bytea,
    location      text,                       -- the answer's Location header
    created       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, method, path, key),
    CONSTRAINT answer_is_whole CHECK ((status IS NULL) = (body IS NULL))
);
CREATE INDEX idempotency_key_by_age ON idempotency_key (created);
