-- The events of a group are listed whenever one choice is made for a season; an event keeps its group for ever.
CREATE INDEX event_by_group ON event (group_id, starts_at, id);
