-- A notice whose look failed is looked into again, later: of a dispute that opens, and of a refund that was made at Stripe
-- itself or came back, there may be no other word.

ALTER TABLE stripe_notice ADD COLUMN due timestamptz NOT NULL DEFAULT now();
DROP INDEX stripe_notice_open;
CREATE INDEX stripe_notice_open ON stripe_notice (due) WHERE done IS NULL;
