-- A refund that was made at Stripe, and taken over by a program, is no clerk's act: its row names none. (All else as in
-- 012_audit.sql.)

CREATE OR REPLACE FUNCTION audit_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    secret text[] := TG_ARGV[3]::text[];
    was    jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - TG_ARGV[4]::text[] END;
    is_now jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - TG_ARGV[4]::text[] END;
    one    jsonb := coalesce(is_now, was);
    told   jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(key, CASE WHEN key = ANY (secret) THEN '"changed"'::jsonb
                                          ELSE jsonb_build_array(was -> key, value) END)
        INTO told FROM jsonb_each(is_now) WHERE was -> key IS DISTINCT FROM value;
        IF told IS NULL THEN
            RETURN NULL;
        END IF;
    ELSE
        told := jsonb_strip_nulls(one - secret - 'reason' - TG_ARGV[1]);
    END IF;
    INSERT INTO audit_record (event_id, action, subject_kind, subject_id, actor_kind, actor_id, reason, detail)
    VALUES (CASE TG_ARGV[2] WHEN 'booking_id' THEN (SELECT event_id FROM booking WHERE id = one ->> 'booking_id')
                            ELSE nullif(one ->> TG_ARGV[2], '') END,
            TG_ARGV[0] || CASE TG_OP WHEN 'INSERT' THEN '.made' WHEN 'UPDATE' THEN '.changed' ELSE '.removed' END,
            TG_ARGV[0], one ->> TG_ARGV[1],
            coalesce(nullif(current_setting('lml.actor_kind', true), ''),
                     CASE WHEN one ->> 'staff_id' IS NULL THEN 'system' ELSE 'staff' END),
            coalesce(nullif(current_setting('lml.actor_id', true), ''), one ->> 'staff_id'),
            one ->> 'reason', told);
    RETURN NULL;
END $$;
