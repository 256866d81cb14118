-- What is on record of layouts is what MongoDB is held against: a version that was published can be no draft again.

-- Few of very many: how far a layout's versions came is asked before each save, publish and deploy, and by the scrub.
CREATE INDEX audit_steps_of_layouts ON audit_record (subject_id)
    WHERE action IN ('layout.published', 'layout.deployed', 'layout.retired');
