-- The double-entry ledger: what every move of a booking means in money. booking/ledger.py says which move books what.

-- Where money can be. (A seeded table, not a CHECK: reports join it, and an account has a side on which it grows.)
CREATE TABLE ledger_account (
    name  text PRIMARY KEY,
    side  text NOT NULL,                      -- on which side it grows
    says  text NOT NULL,
    CONSTRAINT account_side_is_known CHECK (side IN ('debit', 'credit'))
);
INSERT INTO ledger_account (name, side, says) VALUES
    ('buyer_receivable', 'debit',  'sold and authorised, not captured yet'),
    ('stripe_balance',   'debit',  'at Stripe: captured, not given back'),
    ('disputed_funds',   'debit',  'withdrawn by Stripe until a dispute is decided'),
    ('venue_payable',    'credit', 'the venue''s: ticket prices without tax'),
    ('fee_income',       'credit', 'ours: fees without tax'),
    ('tax_payable',      'credit', 'the state''s: the tax in prices and fees'),
    ('refunds_due',      'credit', 'the buyer''s again: decided, and not arrived');

CREATE TABLE ledger_transaction (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id  text NOT NULL,                -- as in the log of status changes: no key binds it, and none keeps it
    reason      text NOT NULL,                -- what happened: a posting of booking/ledger.py
    key         text NOT NULL,                -- what it happened to, and the reason: nothing is booked twice
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT booked_once UNIQUE (key)
);
CREATE INDEX ledger_transaction_by_booking ON ledger_transaction (booking_id, number);
CREATE INDEX ledger_transaction_by_time ON ledger_transaction (at);

CREATE TABLE ledger_entry (
    transaction  bigint NOT NULL REFERENCES ledger_transaction,
    account      text NOT NULL REFERENCES ledger_account,
    currency     text NOT NULL,
    debit        bigint NOT NULL DEFAULT 0,   -- minor units
    credit       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (transaction, account, currency),
    CONSTRAINT entry_has_one_side CHECK (debit >= 0 AND credit >= 0 AND (debit = 0) <> (credit = 0)),
    CONSTRAINT entry_currency_is_iso CHECK (currency ~ '^[A-Z]{3}$')
);

-- Debits are credits, in each transaction and currency: every statement that adds entries balances in itself, so there
-- is no moment at which the ledger does not, and one look a statement does for all its rows.
CREATE FUNCTION ledger_balances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added GROUP BY transaction, currency HAVING sum(debit) <> sum(credit)) THEN
        RAISE EXCEPTION 'a ledger transaction does not balance'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balances';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_balances AFTER INSERT ON ledger_entry
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_balances();

-- Only ever added to: a mistake is put right by another transaction. Where the server signs in as a role that does not
-- own the tables, grant it SELECT and INSERT here and nothing else; the trigger refuses the owner as well.
REVOKE UPDATE, DELETE, TRUNCATE ON ledger_account, ledger_transaction, ledger_entry FROM PUBLIC;
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

-- What was sold before there was a ledger: the same postings, with the shares as booking/ledger.py takes them.
INSERT INTO ledger_transaction (booking_id, reason, key, at)
SELECT b.id, m.reason, b.id || ':' || m.reason, b.changed
FROM booking b JOIN (VALUES ('sold'), ('captured')) AS m (reason)
    ON b.state = 'confirmed' OR b.state = 'authorized' AND m.reason = 'sold'
WHERE b.amount > 0
ORDER BY b.changed, b.id, m.reason DESC;

WITH line AS (
    SELECT booking_id, amount, fee, tax, CASE WHEN amount + fee = 0 THEN 0 ELSE div(tax::numeric * fee, amount + fee) END
           AS fee_tax
    FROM booking_line
), share AS (
    SELECT booking_id, sum(amount + fee) AS total, sum(amount - (tax - fee_tax)) AS venue, sum(fee - fee_tax) AS fees,
           sum(tax) AS tax
    FROM line GROUP BY booking_id
)
INSERT INTO ledger_entry (transaction, account, currency, debit, credit)
SELECT t.number, e.account, b.currency, e.debit, e.credit
FROM ledger_transaction t JOIN booking b ON b.id = t.booking_id JOIN share s ON s.booking_id = b.id
CROSS JOIN LATERAL (VALUES
    ('sold', 'buyer_receivable', s.total, 0), ('sold', 'venue_payable', 0, s.venue), ('sold', 'fee_income', 0, s.fees),
    ('sold', 'tax_payable', 0, s.tax),
    ('captured', 'stripe_balance', s.total, 0), ('captured', 'buyer_receivable', 0, s.total)
) AS e (reason, account, debit, credit)
WHERE e.reason = t.reason AND e.debit + e.credit > 0;
