-- Sales channels: seats and places of an event that only the web, the box office or a partner sells, until they open.

-- The channels of an event. The number stands in the inventory's bytes and is never given to another one.
CREATE TABLE event_channel (
    event_id   text NOT NULL REFERENCES event ON DELETE CASCADE,
    name       text NOT NULL,
    number     smallint NOT NULL,
    opens_at   timestamptz,                   -- from when its allotment sells to all; NULL: until staff open it
    opened_at  timestamptz,                   -- when that was; NULL: it is the channel's own
    told_at    timestamptz,                   -- when the inventory had all of it; NULL: to be told, again if need be
    staff_id   text NOT NULL,                 -- who planned it, and why: a timed opening is theirs
    reason     text NOT NULL,
    created    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, name),
    CONSTRAINT one_channel_per_number UNIQUE (event_id, number),
    CONSTRAINT channel_number_fits CHECK (number BETWEEN 1 AND 31),
    CONSTRAINT channel_name_is_an_id CHECK (name ~ '^[A-Za-z0-9-]{1,64}$'),
    -- What views and allotments are called that are no channel's.
    CONSTRAINT channel_name_is_free CHECK (name NOT IN ('open', 'public', 'staff')),
    CONSTRAINT channel_is_told_when_open CHECK (told_at IS NULL OR opened_at IS NOT NULL)
);
-- What is to be opened, or to be told: looked for every second.
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
    CONSTRAINT area_channel_is_something CHECK (places > 0)
);

-- Through which channel it was sold (its number in the event; 0: none of its own).
ALTER TABLE booking ADD COLUMN channel smallint NOT NULL DEFAULT 0;

-- Who gave what to which channel, and opened it, is in the log of what staff do.
ALTER TABLE status_change
    ADD COLUMN channel text,                  -- of assign, open, and a withdrawn assign; 'open' is what all sell
    DROP CONSTRAINT status_change_act_is_known,
    ADD CONSTRAINT status_change_act_is_known CHECK (
        act IN ('block', 'unblock', 'withdraw', 'hold', 'release', 'move', 'sell', 'free', 'assign', 'open')),
    ADD CONSTRAINT status_change_names_its_channel CHECK (act NOT IN ('assign', 'open') OR channel IS NOT NULL);

-- Who sells for us elsewhere, each through a channel of that name in the events that have one.
CREATE TABLE partner (
    id        text PRIMARY KEY,
    name      text NOT NULL,
    channel   text NOT NULL,
    key_hash  bytea NOT NULL,                 -- SHA-256 of the API key: a stolen table sells nothing
    created   timestamptz NOT NULL DEFAULT now(),
    ended     timestamptz,                    -- the key is good no more
    CONSTRAINT one_partner_per_key UNIQUE (key_hash),
    CONSTRAINT partner_channel_is_an_id CHECK (channel ~ '^[A-Za-z0-9-]{1,64}$'),
    CONSTRAINT partner_channel_is_not_ours CHECK (channel NOT IN ('web', 'box-office', 'open', 'public', 'staff'))
);
