-- Drafts are held against what is on record of them, too: what was changed in MongoDB alone is not published.

-- Few of very many: what a layout's versions are on record with is asked before each of its steps, and by the scrub.
DROP INDEX audit_steps_of_layouts;
CREATE INDEX audit_life_of_layouts ON audit_record (subject_id)
    WHERE action IN ('layout.published', 'layout.deployed', 'layout.retired',
                     'layout.saved', 'layout.imported', 'layout.begun', 'layout.restored');
