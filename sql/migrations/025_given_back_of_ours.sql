-- What is given back of a booking of which an organisation was due nothing is all our commission: a reversal of nothing,
-- without which the ledger would keep it as earned, and the venue as owing it.

ALTER TABLE transfer_reversal
    DROP CONSTRAINT reversal_is_an_amount,
    ADD CONSTRAINT reversal_is_an_amount CHECK (sought BETWEEN 0 AND venue + tax - fee);
