-- Moves and releases by staff are noted before they are done, so that whoever comes next can end what a worker died over.

CREATE TABLE staff_act (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request     text NOT NULL,
    event_id    text NOT NULL REFERENCES event ON DELETE CASCADE,
    epoch       bigint NOT NULL,
    act         text NOT NULL,
    hold_id     text NOT NULL,
    over_house  boolean NOT NULL,
    staff_id    text NOT NULL,
    reason      text NOT NULL,
    state       text NOT NULL DEFAULT 'begun',
    created     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_act_per_request UNIQUE (request),
    CONSTRAINT staff_act_is_known CHECK (act IN ('move', 'release')),
    CONSTRAINT staff_act_state_is_known CHECK (state IN ('begun', 'done'))
);
CREATE INDEX staff_act_begun ON staff_act (event_id, number) WHERE state = 'begun';
CREATE INDEX staff_act_done ON staff_act (created) WHERE state = 'done';
