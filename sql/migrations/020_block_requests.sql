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
    CONSTRAINT area_block_request_kind_is_known CHECK (kind IN ('house', 'kill')),
    CONSTRAINT area_block_request_changes_something CHECK (change <> 0)
);
