-- Which channel a hold of staff was taken through: the box office may have had none yet, and then its places are of those
-- that all sell, whatever the box office is given later.

ALTER TABLE staff_hold ADD COLUMN channel smallint;
COMMENT ON COLUMN staff_hold.channel IS
    'the number of the channel it was taken through, 0 for none; null until it is held, and of holds from before 040';
