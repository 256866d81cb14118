-- name: reaches
-- Whether what is named is an organisation's that has this member of staff: an organisation, or an event, by itself, by a
-- booking, or by the number at the head of a hold's id.
SELECT EXISTS (
    SELECT FROM organisation_member m
    WHERE m.member_id = $1 AND m.organisation_id = CASE $2
        WHEN 'organisation' THEN $3
        WHEN 'event' THEN (SELECT v.organisation_id FROM event e JOIN venue v ON v.id = e.venue_id WHERE e.id = $3)
        WHEN 'booking' THEN (
            SELECT v.organisation_id FROM booking b JOIN event e ON e.id = b.event_id JOIN venue v ON v.id = e.venue_id
            WHERE b.id = $3)
        WHEN 'hold' THEN (
            SELECT v.organisation_id FROM event e JOIN venue v ON v.id = e.venue_id
            WHERE e.number::text = split_part($3, '-', 1))
        END)
