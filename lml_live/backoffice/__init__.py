"""What the staff of the house do beside selling: blocks, the counter, reports."""
