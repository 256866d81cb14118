-- A hold for a customer that is asked of the inventory, and that nobody heard of since, is not looked after for ever: when it
-- was last asked for says when it is time, and which of the calls for it come too late.

ALTER TABLE staff_hold ADD COLUMN asked timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN staff_hold.asked IS 'when the inventory was last to be asked for it: the number of its note';
CREATE INDEX staff_hold_taking ON staff_hold (asked) WHERE state = 'taking';
