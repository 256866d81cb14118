-- name: load_shares
-- The amounts of a booking's lines, to be shared out among the accounts.
SELECT amount, fee, tax FROM booking_line WHERE booking_id = $1;

-- name: post
-- Books one posting: a transaction and its entries. One that is there already is a defect of the caller's.
WITH posted AS (INSERT INTO ledger_transaction (booking_id, reason, key) VALUES ($1, $2, $3) RETURNING number)
INSERT INTO ledger_entry (transaction, account, currency, debit, credit)
SELECT posted.number, entry.account, $4, entry.debit, entry.credit
FROM posted, unnest($5::text[], $6::bigint[], $7::bigint[]) AS entry (account, debit, credit);
