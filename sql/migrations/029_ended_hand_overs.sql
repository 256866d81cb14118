-- Ended hand-overs were kept for ever. They are forgotten after a while, by this index.

CREATE INDEX hand_over_ended ON hand_over (done) WHERE done IS NOT NULL;
