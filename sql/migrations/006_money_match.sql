-- Bookings are matched with Stripe's money every day (docs/decisions/007).

-- Stripe's balance transactions that moved a buyer's money, as Stripe has them: copied, never edited.
CREATE TABLE stripe_transaction (
    id          text PRIMARY KEY,             -- txn_…
    intent_id   text NOT NULL,                -- the PaymentIntent; the charge where there is none
    booking_id  text,                         -- what the charge's metadata says; it may name a booking that is not there
    kind        text NOT NULL,                -- what moved it
    amount      bigint NOT NULL,              -- minor units of what the buyer paid in; below 0 it was given back
    currency    text NOT NULL,
    created     timestamptz NOT NULL,         -- by Stripe's clock
    CONSTRAINT transaction_kind_is_known CHECK (kind IN ('charge', 'refund', 'dispute'))
);
CREATE INDEX stripe_transaction_by_time ON stripe_transaction (created);
CREATE INDEX stripe_transaction_by_intent ON stripe_transaction (intent_id);
CREATE INDEX stripe_transaction_by_booking ON stripe_transaction (booking_id) WHERE booking_id IS NOT NULL;

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
    CONSTRAINT match_goes_forward CHECK (since <= until)
);

-- Which bookings changed in a day. The history only grows, so that a summary of its blocks is all that is needed, and
-- costs a sale next to nothing.
CREATE INDEX booking_history_by_time ON booking_history USING brin (at) WITH (pages_per_range = 32);
