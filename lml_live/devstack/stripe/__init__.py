"""The Stripe double: a process of its own that the official SDK talks to as if it were Stripe.

`docs/stripe-double.md` says what it does, and where Stripe says so.

form, cards, objects, refusals   what comes in and goes out (pure)
intents, refunds, disputes,      what may happen to money (pure)
transfers
store, world                     SQLite, and the one transaction a request has
payments, connecting, customers, reading    the operations of /v1
requests                         keys, idempotency and faults around them
webhooks, faults, page           what tests and browsers need beside the API
control, ledger, settings        how tests steer it, and what they can see
server, process, steering        its addresses, its process for the stack, the client of its control API
"""
