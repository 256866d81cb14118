"""Every bound of the server, with its reason. Bounds that depend on one another are asserted at the end."""

from typing import Final

# --- Layouts
LAYOUT_SEATS_MAX: Final = 200_000
"""The largest generated venue of the product; a room's mirror is a byte a seat."""
LAYOUT_AREAS_MAX: Final = 200
LAYOUT_FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""200,000 seats of our own JSON are about 40 MB."""
LAYOUT_JSON_VALUES_MAX: Final = 4_000_000
"""Of one file, each object, array and member counted: twenty for each of 200,000 seats, 400 MB of memory at the worst.
The bytes say little of that: 64 MiB of empty arrays are 22 million, 1.4 GB."""
LAYOUT_BODIES_MAX: Final = 4
"""Whole layouts that managers send to one worker at the same time, waiting for their turn included: 256 MiB."""
LAYOUT_BODIES_RETRY_MS: Final = 3_000
LAYOUT_TURN_SECONDS: Final = 15.0
"""How long a layout that is to be written out waits while others are worked on: four of the largest, and a reserve."""
LAYOUT_SECTIONS_MAX: Final = 5_000
"""The largest venue known to us has a few hundred; a file with one section a seat is a mapping gone wrong."""
LAYOUT_SHAPES_MAX: Final = 1_000
LAYOUT_ENTRANCES_MAX: Final = 500
LAYOUT_CATEGORIES_MAX: Final = 1_000
"""A category a section is the most that a price list can be read with."""
LAYOUT_NESTING_MAX: Final = 8
"""Building, stand, tier, block and box are five."""
LAYOUT_DIFF_MAX: Final = 1_000
"""Seats that a difference lists of each kind; it counts all of them."""
KNOWN_LAYOUTS_SECONDS: Final = 5.0
"""Between two looks at which layouts are on record or sold on, where somebody asks for one that MongoDB has not."""
KNOWN_LAYOUTS_MAX: Final = 100_000
LAYOUTS_REFUSED_MAX: Final = 1_000
"""Contents of which a worker remembers that they are not on record."""
LAYOUTS_TOLD_MAX: Final = 10_000
"""Versions of which a worker remembers that it has logged what is wrong with them."""
SCRUB_SECONDS: Final = 30.0
"""Between two stored layouts that are read and hashed again: the largest takes a second of CPU, in a thread. A house of
a hundred versions is gone through in fifty minutes."""
LAYOUT_RECORD_SECONDS: Final = 120.0
"""Between two looks at whether MongoDB says of all versions what is on record: a small query for each layout."""
LAYOUT_SHAPE_POINTS_MAX: Final = 100_000
"""All points of all shapes: they are in one document of MongoDB, 3.5 MB of it."""
OUTLINE_LOOKS_MAX: Final = 4_000_000
"""Seats times points of an outline that are compared for a warning, a second of CPU; the largest real venue needs a
tenth, and an outline of 2,000 points around 200,000 seats would need a hundred times as much."""
OUTLINE_STEPS_MAX: Final = 2_000_000
"""Edges of outlines, in each of the strips that they are compared in: some seconds of CPU. A bowl of 40,000 seats needs
6,000 of them and one of 200,000 needs 23,000; one of 5,000 curved sections, which nobody has built, half."""
OUTLINE_POINTS_MAX: Final = 2_000
"""An outline or shape is drawn on phones; curves in plans come as a few dozen points."""
OUTLINE_CHARS_MAX: Final = 1_000_000
"""Of its text: its points, each with all digits that a number has, are a tenth."""
TABLE_CELLS_MAX: Final = 4_000_000
"""Those that lines leave out at their ends counted, too: twenty columns for each of 200,000 seats, 400 MB."""
AREA_CAPACITY_MAX: Final = 1_000_000
"""More people than have ever stood at one concert's fence line; beyond it a number is a typing error."""
VIEWPORT_MAX: Final = 1_000_000
LAYOUT_VERSIONS_MAX: Final = 10_000
"""Versions read at once: of one layout, or all that are deployed."""
LAYOUT_ROW_SEATS_MAX: Final = 4_000
"""Longer than any row around any stadium; a section is stored in parts of whole rows, and one row must fit in."""
LAYOUT_PART_SEATS: Final = 8_000
"""Seats in one document: at their longest (labels of 100 characters of 4 bytes) 8,000 are 10 MB of MongoDB's 16."""
MONGO_SELECT_MS: Final = 3_000
"""How long a call waits for a primary: longer than an election on one machine, shorter than anybody's patience."""
MONGO_CALL_MS: Final = 30_000
"""The whole of one call; the longest writes or reads the chunks of the largest layout on a busy disk."""
OBJECT_CONNECT_SECONDS: Final = 3
OBJECT_READ_SECONDS: Final = 20
POINTER_SECONDS: Final = 60
"""How long browsers and the edge may keep the pointer to a layout's newest version; all else is kept for ever."""
MANIFESTS_KEPT: Final = 1_000
"""Of a server that is its own edge, a kilobyte each."""
POINTER_HISTORY_MAX: Final = 20
EDGE_TRIES: Final = 5
EDGE_PAUSE_SECONDS: Final = 0.5
EDGE_PAUSE_SECONDS_MAX: Final = 8.0
"""Five tries with pauses of at most 0.5, 1, 2 and 4 seconds, beside the two that the driver makes of each."""
LINK_SECONDS: Final = 600
LINK_SECONDS_MIN: Final = 10
LINK_SECONDS_MAX: Final = 7 * 24 * 3600
"""S3 signs for a week at the most."""
CDN_KEY_BITS_MIN: Final = 2048
REGIONS_MAX: Final = 20
LAYOUT_GZIP_LEVEL: Final = 6
OBJECTS_LISTED_MAX: Final = 100_000
"""Objects of one list: more backups than one layout has in all its years, hundreds of times over."""
HALF_FILE_SECONDS: Final = 3600
"""A file of a folder that is half written, and was not written to for so long, is nobody's any more."""
BACKUP_BYTES_MAX: Final = 256 * 1024 * 1024
"""The bytes of one layout, zipped or not: the largest with the longest labels, and far below a bomb."""
BACKUP_GZIP_LEVEL: Final = 3
"""Half the time of 6, for a twentieth more bytes: most of a layout is its seats' ids, which nothing makes shorter."""
BACKUP_KEEP_LAST: Final = 10
BACKUP_KEEP_DAYS: Final = 30
BACKUP_KEEP_MONTHS: Final = 24
BACKUP_KEEP_MAX: Final = 10_000
BACKUPS_ON_RECORD: Final = 100
"""Ids in one record of the audit trail; the count is of all."""
BACKUPS_FIRST_LOOK_SECONDS: Final = 60
BACKUPS_LOOK_SECONDS: Final = 3_600
"""How often the leading worker thins backups out, and looks for versions in use that have none."""
LABEL_CHARS_MAX: Final = 100
VIOLATIONS_MAX: Final = 1_000
"""A report lists all violations, but a file of 200,000 broken seats need not be told 200,000 times."""

# --- Holds
HOLD_SEATS_MAX: Final = 50
"""One Lua step looks at every seat of a hold: the basket bounds the step (reliability.md, D8)."""
HOLD_LINES_MAX: Final = 50
HOLDS_PER_HOLDER_MAX: Final = 10
EVENTS_PER_CALL_MAX: Final = 19
"""Events that change in one step: the season of a theatre, the home games of a league of twenty. With the next bound
the largest step is under a millisecond of Redis (reliability.md, D8)."""
GROUP_PLACES_MAX: Final = 50
"""Seats and places of all events together in such a step, and of all holds that it ends or moves (D8)."""
KEYS_PER_HOLD_MAX: Final = 200
"""Keyed changes of one hold; its record lists them, and is read and written as one value."""
KEY_CHARS_MAX: Final = 255
"""The length of an idempotency key (reliability.md, section 4: 256 and more are refused)."""
TOMBSTONE_MS: Final = 60_000
"""How long a gone hold is remembered after its lifetime, so that a retry hears what became of it (contract, `key`)."""
HOLD_SECONDS_MIN: Final = 1
HOLD_SECONDS_MAX: Final = 24 * 3600
LIFETIME_SECONDS_MAX: Final = 7 * 24 * 3600
EXTENSIONS_MAX: Final = 20
EXPIRED_HOLDS_MAX: Final = 100
COOLDOWN_SECONDS_MAX: Final = 600
"""Where a pause that doubles stops (reliability.md, D12): long enough to lose a rush, short enough to forgive."""
REHOLD_SECONDS_MAX: Final = TOMBSTONE_MS // 1000
"""What a hold counted for is forgotten with its tombstone."""
RELEASE_JITTER_SECONDS_MAX: Final = 300
BARRED_SEATS_MAX: Final = 100
"""Seats that a holder is remembered to have lost, the latest: two baskets. They are read with every hold of theirs."""
ADDRESS_HOLDS_MAX: Final = 200
"""An address's holds are listed in one field, which is read and written with each of its holds: 5 kB."""
ADDRESS_SEATS_MAX: Final = ADDRESS_HOLDS_MAX * HOLD_SEATS_MAX
ADDRESSES_LOOK_FIELDS: Final = 200
"""Fields of a book that one turn of the upkeep looks through for addresses that can be forgotten: 0.1 ms of Redis, and
as many calls of a few microseconds at most. A book of 100,000 fields takes four minutes."""
ADDRESS_HOLDS_AT_ONCE: Final = 100
"""Of an address's holds so many are read in one command."""
UNTIL_RELEASED_MS: Final = 4_102_444_800_000
"""The deadline and lifetime of a hold without a deadline: 2100-01-01 UTC. A number like any other to scripts, clients
and clocks, and no event of ours is later; a jump of a clock does not reach it."""
STAFF_SEATS_ASKED_MAX: Final = 100
"""Seats whose details are asked for at once: their ids come in the address, and a line of a request holds 8 kB."""
BOOK_SCAN_FIELDS: Final = 1_000
"""Fields of a book that one step of a search for a seat's hold looks at: about 0.3 ms of Redis."""

# --- The live socket
MESSAGE_BYTES_MAX: Final = 16 * 1024
"""Measured in reliability.md: bombs and endless fragments stop at this size with RSS +0.7 MiB."""
TOKEN_CHARS_MAX: Final = 2_048
HELLO_SECONDS_MAX: Final = 10
"""A handshake that is followed by silence is a half-open socket or a hoarder."""
IDLE_SECONDS_MAX: Final = 90
"""No frame, not even a pong, for this long: the peer is gone. Pings go out every 25 s, so three are lost first."""
PING_SECONDS: Final = 25
SOCKET_UPKEEP_SECONDS: Final = 0.25
SOCKET_LOOK_SECONDS: Final = 1.0
"""How often each socket is asked when it was last heard: 10,000 of them take a millisecond."""
CLOSE_SECONDS: Final = 3.0
"""A closing handshake that takes longer is cut short (reliability.md: with a stalled peer it hung over 15 s)."""
BYE_MS: Final = 5_000
"""Clients that were sent away come back spread over this time."""
UNKNOWN_ORIGINS_MAX: Final = 64
STRIKES_MAX: Final = 5
"""Malformed messages before a socket is closed with 1008."""
FLOODS_MAX: Final = 100
"""Messages over the rate before a socket is closed with 1008."""
RENEWAL_ASK_MS: Final = 10_000
"""How often at most one socket of a partner's customer asks PostgreSQL whether the partner still sells."""
MESSAGES_PER_SECOND_MAX: Final = 20
MESSAGE_BURST_MAX: Final = 40
REQUESTS_IN_FLIGHT_MAX: Final = 8
CLIENT_QUEUE_BYTES_MAX: Final = 1024 * 1024
"""What one slow client may make the server hold for it (reliability.md, F33)."""
STALL_SECONDS_MAX: Final = 20
"""A client that is behind and has not read everything for this long is cut."""
SOCKET_SEND_BUFFER_BYTES: Final = 64 * 1024
SOCKET_UNSENT_BYTES: Final = 16 * 1024
"""Without these two the kernel swallows 3.9 MB before a stalled reader shows (performance.md, Slow consumers)."""
SOCKETS_PER_ADDRESS_MAX: Final = 500
"""In one worker; a school or an office behind one address still gets in."""
SOCKETS_MAX: Final = 20_000
JOINS_IN_A_PASS: Final = 4
"""Handshakes and welcomes between two looks of the loop at its sockets: some 2 ms, whoever else waits."""
SOCKETS_CAME_TO_FREEZE: Final = 200
"""So many sockets are 20,000 objects: a collection of some milliseconds, and then no more."""
SOCKETS_LEFT_TO_COLLECT: Final = 10_000
"""What a socket leaves behind in cycles is at most some 10 kB: 100 MB, before a pause of 0.1 s clears them away."""
TICK_MS: Final = 50
TICK_MS_MIN: Final = 5
TICK_MS_MAX: Final = 5_000
LOG_ENTRIES_MAX: Final = 5_000
"""How far back `resume` can look (reliability.md, D9). Entries of many holds are some 250 bytes a hold."""

# --- Upkeep
SWEEP_MS: Final = 500
"""How often expired holds are looked for; a seat is free again at most this long after its deadline."""
SWEEP_MS_MIN: Final = 20
SWEEP_MS_MAX: Final = 10_000
SWEEP_BATCH: Final = 100
"""Holds looked at in one Lua step at most."""
SWEEP_WORK_MAX: Final = 150
"""Places that one such step frees, a hold counting as five: it stays under a millisecond of Redis."""
SWEEP_ROUNDS_MAX: Final = 250
"""Batches of one event in one sweep; the other events come before its next."""
LOOK_SECONDS: Final = 1.0
"""How long the sweep leaves an event alone in which nothing is due: no deadline is set less than this ahead (but for a
hold that is restored at the end of its lifetime, whose seats are free so much later)."""
LOOKS_AT_ONCE: Final = 200
"""Events that the sweep asks about in one go: some 10 ms of a worker at most."""
UPKEEP_LIST_SECONDS: Final = 5.0
"""How often the list of sales and the clocks are looked at again, should a notice have been missed."""
CLOCK_SKEW_MS: Final = 2_000
"""Clocks of PostgreSQL and Redis that agree within this are taken to agree (architecture.md, Time)."""
CLOCK_JUMP_WAIT_MS: Final = 60_000
DRIFT_CHECK_SECONDS: Final = 10.0
"""How often the next event is compared with PostgreSQL: a hundred events take a quarter of an hour."""
DRIFT_SHARE_MAX: Final = 0.02
"""Of a worker's time at most this much is spent on comparing; large events are looked at less often."""
DRIFT_CONFIRM_SECONDS: Final = 10.0
"""What differs is looked at again so much later: by then a request has ended, and its work is done or in the outbox."""
DRIFT_SHOWN_MAX: Final = 10
OVERDUE_SECONDS: Final = 3.0
OVERDUE_EVENTS: Final = 20
"""A worker that does not lead looks at this many events a sweep, and sweeps one whose hold is overdue by so long."""
LEAD_IDLE_SECONDS: Final = 10.0
"""A sweeping worker that reaches no event for this long lets another sweep, and does not ask to again for as long."""

CHECKOUT_GRACE_MS: Final = 60_000
"""What a holder has at least, within the lifetime, to try another card when a checkout is taken back."""
BEST_TRIES: Final = 10
"""Blocks that one request for the best seats goes for, one after the other, while others win them (gateway/best.py)."""
BEST_WAIT_MS: Final = 4
BEST_WAIT_MS_MAX: Final = 100
"""A loser's wait before its next try is a random part of the first, doubled with each loss up to the second."""
CHANGE_TRIES: Final = 5
"""A change that adds and releases is worked out anew where another change of the same hold came in between."""
STAMP_TRIES: Final = 3
"""A script whose stamp does not agree is tried again with facts read anew: once for a revision, once for an epoch."""
ADOPT_WAIT_SECONDS: Final = 10.0
ADOPTS_AT_ONCE: Final = 2
"""Events that one worker restores at a time; each holds a connection, and rebuilding one is a tenth of a second."""

FEED_ENTRIES_MAX: Final = 1_000
"""Log entries read in one go: about 0.3 ms of Redis and 3 ms of Python where each tells of one hold."""
QUIET_ROOM_SECONDS: Final = 1.0
"""How often a log is read that nothing was said of: what a lost message costs at most."""
ROOM_AWAKE_SECONDS: Final = 2.0
"""For so long after an entry, or a message that there is one, a log is read each tick."""
WAKE_AGAIN_SECONDS: Final = 1.0
"""An event that is acted upon all the time is published so often: less than all who were woken stay awake."""
WAKE_PAUSE_SECONDS: Final = 0.05
"""Between two messages of a worker, which name all events that it acted upon meanwhile."""
WAKES_NOTED_MAX: Final = 10_000
"""Events of which a worker knows that they were told of. With fewer than are busy each act would be published."""
BOOK_CHECK_SECONDS: Final = 1.0
ROOM_IDLE_SECONDS: Final = 60.0
"""A room that nobody watches or asks for is closed after this: until then it is read and checked every second, and
opening it anew is a matter of milliseconds."""

# --- Redis
REDIS_CALLS_MAX: Final = 10_000
"""Calls waiting for an answer in one worker; at 100,000 a second these are a tenth of a second."""
REDIS_CALL_SECONDS: Final = 2.0
REDIS_CONNECT_SECONDS: Final = 5.0
REDIS_WATCH_SECONDS: Final = 0.25
REDIS_ASK_SECONDS: Final = 1.0
"""What a sentinel or a cluster's node may take to say where things are."""
REDIS_LOOK_SECONDS: Final = 5.0
"""How often that is looked up though nobody said that it changed."""
PUBSUB_SILENCE_SECONDS: Final = 1.0
"""After so long without a message a worker publishes one itself, and is deaf where that does not come back as soon."""
REDIS_RECONNECT_SECONDS_MIN: Final = 0.05
REDIS_RECONNECT_SECONDS_MAX: Final = 1.0
ACTS_TOGETHER_MAX: Final = 64
"""Holds and releases of one event in one script call: about 0.2 ms of Redis. Twice as many save a tenth of that."""
WORK_TOGETHER_MAX: Final = 340
"""What they make Redis do in all, in seats that it looks at (some 2.5 µs each): a call stays under a millisecond."""
WORK_OF_ACT: Final = 3
"""What an act costs whatever it names, in seats."""
WORK_OF_AREA: Final = 3
"""What places of an area cost, in seats: it is read and written."""
WORK_OF_WINDOW: Final = 4
"""What a seat costs in all where the orphan rule looks at up to fifty seats around it."""
CALLS_TOGETHER_MAX: Final = 2
"""Such calls of one event on the way: while Redis decides one, the next fills. More would only make them smaller."""
EVENTS_TOGETHER_MAX: Final = 256
"""Events whose calls are kept prepared while nothing waits, in a worker; some 3 kB each."""
RETRY_AFTER_MS: Final = 500
"""What a client is told to wait where nothing better is known."""

# --- The server's process
HEAD_SECONDS_MAX: Final = 20.0
"""From the first byte of a request's head (on a new connection: from its opening) to the head's end. A kilobyte takes a
poor line a few seconds; a head that trickles in holds a connection for nothing (reliability.md, section 4)."""
KEEPALIVE_SECONDS: Final = 75.0
DRAIN_SECONDS: Final = 5.0
ACCEPT_BACKLOG: Final = 4_096
"""A sale's opening brings thousands of handshakes in one second."""
COPIES_CHECK_SECONDS: Final = 60.0
"""How soon a layout that the object store forgot is uploaded again."""
NOTICES_MAX: Final = 10_000
NOTICES_RETRY_SECONDS: Final = 1.0

# --- Bookings and payments
PAY_SECONDS: Final = 600
"""How long a claim waits for its payment before it begins to be given up (reliability.md: claim 10 min)."""
PAY_SECONDS_MIN: Final = 1
PAY_SECONDS_MAX: Final = 3_600
BANK_SECONDS: Final = 7 * 24 * 3600
"""How long a bank may take over a payment; a debit is answered within some days."""
BANK_SECONDS_MIN: Final = 1
BANK_SECONDS_MAX: Final = 30 * 24 * 3600
BANK_LOOK_SECONDS: Final = 3_600.0
"""How often Stripe is asked about a payment that is the bank's, should no webhook come; at least `BANK_LOOKS` times."""
BANK_LOOKS: Final = 100
POLL_SECONDS: Final = 60
"""How often Stripe is asked about an unfinished payment, should no webhook come."""
POLL_SECONDS_MIN: Final = 1
POLL_SECONDS_MAX: Final = 3_600
MARK_SECONDS: Final = 30
"""A checkout mark whose claim nobody has seen for so long is settled: a request lives at most 20 s."""
RUNNING_SHARE_OF_MARK: Final = 0.5
"""A booking's request whose key has had no answer for this part of the mark's time may be taken over.

A worker that died between mark and claim is finished by the same key, if that may begin before the sweep settles the
mark: it has the other half for it. A request that is only slow and is taken over harms nothing: both make one booking
id, of which one claim commits, and the one that has the key keeps its answer."""
MARK_SECONDS_MIN: Final = 1
MARK_SECONDS_MAX: Final = 600
PAYMENT_CALL_SECONDS: Final = 10
PAYMENT_PATIENCE_SECONDS: Final = 2.0
PAYMENT_WAIT_SECONDS: Final = 4.0
"""How long a request waits for Stripe before it answers that the payment is being prepared."""
HURRY_ROUNDS_MAX: Final = 4
"""A create, what follows from it, and what follows from that."""
FIND_SLACK_SECONDS: Final = 60
"""How much our clock may be ahead of Stripe's when a booking's intents, or what it has booked, are looked for."""
FIND_PAGES_MAX: Final = 50
"""Of 100 intents: more than three minutes of all that Stripe lets one account make (25 a second)."""
COMPLETER_SECONDS: Final = 1.0
STRIPE_CALLS: Final = 100
"""Calls a second that Stripe takes of a live account in all (docs.stripe.com/rate-limits); of a sandbox a quarter."""
STRIPE_ENDPOINT_CALLS: Final = 25
"""The same of each operation by itself, by default."""
STRIPE_CALLS_MAX: Final = 10_000
STRIPE_CALLS_OF_A_PURCHASE: Final = 3
"""Made, looked at once, and captured."""
PACE_PATIENCE_SECONDS: Final = 4.0
"""How far ahead a call takes its turn: who dies before it leaves so much of the pace unused."""
PACE_LOOK_SECONDS: Final = 0.05
PACE_SHARE_MIN: Final = 1 / 32
"""What is left of the pace after five times 429: one call a second of an operation's 25, nearly."""
PACE_RECOVERY_PER_SECOND: Final = 0.05
"""The part of the whole pace that comes back each second: all of it in half a minute."""
CREATES_AT_ONCE: Final = 128
"""Payments that a worker is making at once: those of the pace's patience, and a Stripe that takes its time."""
QUEUE_LOOK_SECONDS: Final = 0.25
"""How old a worker's picture of the queue may be."""
QUEUE_SHARE_OF_PAY: Final = 0.5
"""Of the time to pay a buyer may wait so much for the payment to be ready; who would wait longer does not begin."""
QUEUE_REFRESH_SECONDS_MAX: Final = 15
QUEUE_RETRY_SECONDS_MAX: Final = 30
"""Who was not let in is told to ask again after so long at most: others give up, and a hold does not last for ever."""
DISPUTE_LOOK_SECONDS: Final = 3_600.0  # a bank takes weeks to decide
DISPUTE_LOOK_DAYS: Final = 120
"""How long a dispute that ended is asked about, once a day: banks reopen cases for about as long."""
OUTBOX_BATCH: Final = 16
OUTBOX_LEASE_SECONDS: Final = 6
"""What a worker dies over is another's after so long. Whoever lives renews it (docs/decisions/031)."""
LEASE_RENEWALS: Final = 3
"""As many times in a lease: two may fail, or the loop be late."""
OUTBOX_LEASE_SECONDS_MIN: Final = 1
OUTBOX_LEASE_SECONDS_MAX: Final = 600
CAPTURE_ATTEMPTS_MAX: Final = 5
"""Keys under which a capture is tried before the payment counts as refused for good, and is voided."""
OUTBOX_BACK_OFF_SECONDS: Final = 0.5
OUTBOX_BACK_OFF_SECONDS_MAX: Final = 60.0
NOTICE_BACK_OFF_SECONDS_MAX: Final = 3_600.0
"""A notice whose look failed is looked into again when it is twice as old, and at least so often."""
WEBHOOK_TOLERANCE_SECONDS: Final = 300
HOLD_BACK_DAYS: Final = 7
HOLD_BACK_DAYS_MAX: Final = 365
"""How long after an event an organisation's money may wait: refunds come mostly within days, disputes up to months."""
BASIS_POINTS_MAX: Final = 10_000
PAYOUT_LOOK_SECONDS: Final = 15.0
PAYOUT_BATCH: Final = 50
"""Transfers that are decided at one look: three a second, of Stripe's 25, so that the sale's calls have the rest."""
TRANSFER_RETRY_SECONDS: Final = 3_600.0
"""A transfer that Stripe refuses is somebody's to look into, and asked for again so often."""
TRANSFER_CHECK_SECONDS: Final = 600.0
"""When a transfer that was not made at the first try is looked for again: all calls of before have ended by then."""
REFUSED_RETRY_SECONDS_MAX: Final = 24 * 3600.0
REFUSED_ATTEMPTS_MAX: Final = 8
"""What Stripe refuses is asked for after 1, 2, 4, 8, 16, 24 and 24 hours, and then by nobody: that is for a human."""
EVIDENCE_AFTER_EVENT_SECONDS: Final = 24 * 3600
"""From an event's start until a bank is told of it: by then everybody was let in."""
EVIDENCE_MARGIN_SECONDS: Final = 48 * 3600
"""Before a bank hears no more: enough for somebody to look, where Stripe refuses."""
TRANSFERS_FAILED_MAX: Final = 1_000
"""Defects that are remembered; with more of them, some come too often."""
ACCOUNT_LOOK_SECONDS: Final = 24 * 3600
"""How often Stripe is asked how an account stands that money can be sent to, should it not say so itself."""
ONBOARDING_LOOK_SECONDS: Final = 300
"""The same of one that none can be sent to."""
ACCOUNTS_AT_ONCE: Final = 20
PAYOUTS_READ_SECONDS: Final = 3_600
"""How often Stripe is asked what of an account went to its bank, should it not say so itself: a bank takes days."""
PAYOUT_MAY_FAIL_DAYS: Final = 14
"""From when a bank should have a payout until it sends none back any more; Stripe says five business days."""
STATEMENT_BATCH: Final = 1_000
"""Bookings whose money is summed up by one statement of PostgreSQL: some 100 ms."""
MISSED_LOOK_SECONDS: Final = 300.0
"""How often Stripe is asked for notices that did not reach us: what they say is made good in 15 minutes (I12)."""
MISSED_DAYS: Final = 30
"""Stripe lists events so far back (its API reference, events)."""
MISSED_PAGES_MAX: Final = 200
MATCH_SECONDS: Final = 24 * 3600
"""How often bookings are matched with Stripe's money (reliability.md, D7: daily)."""
MATCH_SECONDS_MIN: Final = 1
MATCH_SECONDS_MAX: Final = 7 * 24 * 3600
SETTLE_SECONDS: Final = 3_600
"""What moved less than this ago is left for the next match: the other side may not know of it yet."""
SETTLE_SECONDS_MIN: Final = 5
"""More than clocks may differ (`CLOCK_SKEW_MS`), Stripe's whole seconds and a commit together."""
SETTLE_SECONDS_MAX: Final = 7 * 24 * 3600
MATCH_LOOK_SECONDS: Final = 60.0
"""How often a worker looks whether a match is due, and what the last one found."""
MATCH_RETRY_SECONDS: Final = 300.0
MATCH_PAGE_SECONDS: Final = 0.25
"""The pause between two pages: with it a match takes less than a sixth of Stripe's 25 requests a second."""
MATCH_TRIES_MAX: Final = 5
"""How often one page is asked for, with growing pauses, before the match is given up until later."""
MATCH_PAGES_MAX: Final = 50_000
"""Of 100 transactions: five million, more than a year of the largest house."""
MATCH_BATCH: Final = 500
"""Bookings that are compared at a time."""
MATCH_LISTED_MAX: Final = 1_000
"""Differences that are listed, logged and looked at again by the next match. All are counted; where there are more, it
is not the single booking that is wrong."""

# --- REST
PROBE_SECONDS: Final = 2.0
REQUESTS_PER_SECOND_MAX: Final = 10
"""Holder acts over REST, per holder; new holders, per address."""
REQUEST_BURST_MAX: Final = 30
REQUEST_BUCKETS_MAX: Final = 100_000
LAYOUT_CACHE_BYTES_MAX: Final = 128 * 1024 * 1024
BODY_BYTES_MAX: Final = 1024 * 1024
PAGE_ITEMS_MAX: Final = 200
PAGE_ITEMS_DEFAULT: Final = 50
CURSOR_CHARS_MAX: Final = 256
"""Base64 of a time, which takes 32 characters, and an id of 64."""
JSON_DEPTH_MAX: Final = 64
BODY_SECONDS_MAX: Final = 20
"""A body that trickles in more slowly is an attack or a dead line."""
IDEMPOTENCY_HOURS: Final = 24
IDEMPOTENCY_RUNNING_SECONDS: Final = 60
"""A first request that has not answered by now has died; a repetition may take over. Bookings are quicker: see
`RUNNING_SHARE_OF_MARK`."""
IDEMPOTENCY_PRUNE_SECONDS: Final = 600
IDEMPOTENCY_PRUNE_BATCH: Final = 1_000

# --- Embedded engines (`lml up`) and worker processes
ENGINE_START_SECONDS: Final = 60
"""A database that replays its log after a crash on a slow disk takes seconds; a minute means that it hangs."""
ENGINE_START_TRIES: Final = 3
"""Somebody may take a port between our look and the engine's bind; three times in a row is no accident."""
ENGINE_PORT_TRIES: Final = 200
ENGINE_PORT_WAIT_SECONDS: Final = 3
"""Threads of an ended process that still hold its port are gone in milliseconds."""
ENGINE_STOP_SECONDS: Final = 15
"""MongoDB needs about 1 s, a PostgreSQL with much to write some seconds; then it is killed, and recovers at start."""
ENGINE_LOOK_SECONDS: Final = 0.1
"""How soon a dead engine is noticed."""
ENGINE_PROBE_SECONDS: Final = 0.1
"""On this machine a port answers, or refuses, at once."""
ENGINE_LOG_BYTES_MAX: Final = 10 * 1024 * 1024
ENGINE_RESTART_WAIT_SECONDS_MAX: Final = 5
"""The longest pause before an engine or worker that keeps dying is started once more."""
POSTGRES_CONNECTIONS_MAX: Final = 200
"""Of the embedded PostgreSQL: 8 workers with pools of 20, the commands and the tests beside them."""

# --- The Stripe double
STRIPE_DOUBLE_FIELDS_MAX: Final = 300
"""Parameters of one request; the largest that a page or the SDK sends has about 80, metadata included."""
STRIPE_DOUBLE_BODY_BYTES_MAX: Final = 128 * 1024
STRIPE_DOUBLE_WEBHOOKS_PARALLEL_MAX: Final = 64
STRIPE_DOUBLE_DUE_BATCH: Final = 200
"""What is due at one look; the rest comes with the next, which follows at once."""
STRIPE_DOUBLE_LOOK_SECONDS: Final = 0.05
"""How late a webhook may be sent that falls due while others are on their way."""
STRIPE_DOUBLE_IDLE_SECONDS: Final = 1.0
"""Where nothing is on its way or due, how often is looked for answers that are kept no longer."""
STRIPE_DOUBLE_EVENT_DAYS: Final = 30
"""Stripe lists events for so long."""

# --- Events
EVENT_NAME_CHARS_MAX: Final = 200
EVENT_PRICES_MAX: Final = 500
"""A hall has a few dozen categories, each with a few types."""
DEPLOYED_INDEXES_KEPT: Final = 4
"""Indexes at hand for managers' calls; one of 200,000 seats is about 100 MB, a third of it where the seats stand."""
BLOCK_SEATS_MAX: Final = LAYOUT_SEATS_MAX
AREAS_BATCH: Final = 50
"""Areas that staff change in one transaction and then in one call to the inventory: half a millisecond of Redis."""
BLOCK_BATCH: Final = 1_000
BLOCK_RUNS: Final = 100
"""Seats, and runs of neighbours that they are in, blocked in one transaction and then in one call to the inventory:
neither waits long for it."""
STAFF_TURNS_AT_ONCE: Final = 3
"""Events whose seats staff change at a time in one worker; each holds a connection of the pool, and uses another."""
STAFF_TURN_SECONDS: Final = 30.0
"""After this a worker that was stopped while it changed blocks or allotments loses its turn. Longer than a batch takes
where Redis is away and the event is adopted."""
STAFF_ACTS_LOOK_SECONDS: Final = 2.0
"""How often is looked for moves and releases by staff that were begun and not ended."""
STAFF_ACT_SECONDS: Final = 2.0
"""So long one may take before it is looked into: it waits for the turn of who is only slow."""
STAFF_NOTES_BATCH: Final = 100
"""Such holds looked into at a time."""
STAFF_NOTE_SECONDS: Final = 30.0
"""So long a hold for a customer may be noted and not be on record before it is looked into: nobody waits by then."""
OPEN_BATCH: Final = 5_000
"""Seats that one call to the inventory looks through for those of a channel that opens: well under a millisecond."""
OPENINGS_LOOK_SECONDS: Final = 1.0
"""How often is looked whether a channel's time to open has come."""
OPENING_SECONDS: Final = 10.0
"""An opening of which the inventory has not heard all after this is told again: who told it has died."""

# --- Staff
STAFF_SESSION_SECONDS: Final = 12 * 3600
"""One long working day."""
STAFF_LOOK_SECONDS: Final = 10.0
"""How often a worker asks whether the staff who watch are still signed in: in 30 s those who are not are gone."""
STAFF_TOKENS_ASKED_MAX: Final = 1_000
PASSWORD_CHARS_MIN: Final = 10
PASSWORD_CHARS_MAX: Final = 256
PASSWORD_HASHES_AT_ONCE: Final = 2
"""Each hash takes 64 MiB and a core's tenth of a second (argon2id, RFC 9106's second choice)."""
PASSWORD_HASHES_WAITING_MAX: Final = 32
SIGN_IN_WINDOW_SECONDS: Final = 900
SIGN_IN_ATTEMPTS_PER_ADDRESS: Final = 20
SIGN_IN_ATTEMPTS_PER_EMAIL: Final = 50
"""More than an address has, so that nobody can lock a colleague out from one place."""

# --- Buyers' accounts
ACCOUNT_SESSION_SECONDS: Final = 30 * 24 * 3600
"""A buyer stays signed in for a month on each device; the holder's tokens of a session are renewed within it."""
SESSIONS_PER_ACCOUNT_MAX: Final = 20
SOCKETS_PER_ACCOUNT_MAX: Final = 50
"""Of one worker: more than anybody watches with, and few enough that an account is no way around an address's cap."""
INVITATION_SECONDS: Final = 3600
INVITATION_KEPT_SECONDS: Final = 24 * 3600
INVITATIONS_PER_EMAIL: Final = 5
"""Mails to one address in `SIGN_IN_WINDOW_SECONDS`; whoever asks for more hears the same answer."""
HAND_OVER_LOOK_SECONDS: Final = 2.0
"""How often is looked for hand-overs that were begun and not ended."""
HAND_OVER_RETRY_SECONDS: Final = 10.0
HAND_OVER_SECONDS_MAX: Final = 3600.0
"""What could not be handed over by then stays where it is: no hold that was there at the beginning lives so long."""
HAND_OVER_KEPT_SECONDS: Final = 7 * 24 * 3600
"""How long one that has ended is kept, for whoever asks what became of it. What it moved is in the trail for good."""
HAND_OVERS_DROPPED_AT_ONCE: Final = 500
"""Of those, with each look: 250 a second, more than passwords are hashed."""
HAND_OVER_EVENTS_AT_ONCE: Final = 200
HAND_OVERS_AT_ONCE: Final = 20

# --- The audit trail
AUDIT_LOOK_SECONDS: Final = 0.5
"""How often is looked for records to be chained: they are within a second of their commit."""
AUDIT_BATCH: Final = 1_000
"""Records of each log that one turn chains; forty milliseconds of one transaction at the most."""
AUDIT_SETTLE_SECONDS: Final = 10
"""How long a floor waits although all transactions have ended: a number may be drawn before its transaction has one.
Each turn looks through what came since: at a thousand records a second that is 5 ms of PostgreSQL."""
AUDIT_READ: Final = 2_000
"""Links, with their records, that a check or an export reads at once."""
AUDIT_PIECE: Final = 500
"""Records of a chain that are read at once for somebody who asks: some 200 kB, and milliseconds of a worker."""
AUDIT_PIECES_MAX: Final = 20
"""Pieces that one page looks through for what is wanted."""
AUDIT_READERS_MAX: Final = 4
"""Who may read whole chains of one worker at once."""
AUDIT_WRITE_SECONDS: Final = 60.0
AUDIT_LATE_SECONDS: Final = 3_600
"""A record is chained within a second of its commit; a transaction that takes an hour is none of ours."""
AUDIT_SPAN: Final = 100_000
"""Numbers of each log that one statement looks through for records without a link."""
AUDIT_CHAINS_BATCH: Final = 5_000
ANCHOR_SECONDS: Final = 3_600
ANCHOR_SECONDS_MIN: Final = 1
ANCHOR_SECONDS_MAX: Final = 7 * 24 * 3600
ANCHOR_RETRY_SECONDS: Final = 60
"""An object store that is away is asked again after this."""
ANCHORS_CHECKED: Final = 100
"""Anchors that a check reads again, from the latest back; each has all chains, and the hash of the one before it."""

# --- E-mail
MAIL_LOOK_SECONDS: Final = 2.0
MAIL_BATCH: Final = 20
"""Mails that one connection takes, one after another."""
MAIL_CALL_SECONDS: Final = 15
"""One word of a mail server's."""
MAIL_SEND_SECONDS: Final = 30
"""A mail from its sender to the server's last word."""
MAIL_BATCH_SECONDS: Final = 60
"""After this no further mail of a batch is begun."""
MAIL_LEASE_SECONDS: Final = 180
"""When mails that a worker died over are taken up by another."""
MAIL_BACK_OFF_SECONDS: Final = 60.0
MAIL_BACK_OFF_SECONDS_MAX: Final = 4 * 3600.0
MAIL_PAUSE_SECONDS_MAX: Final = 60.0
MAIL_TRIES_MAX: Final = 30
"""Refusals for now of one mail. With the back-off they come to more than the next bound, which so decides alone."""
MAIL_AGE_SECONDS: Final = 3 * 24 * 3600
"""What nobody could send for so long is news of long ago; and a server that is set late does not tell old tales."""
MAILBOX_LISTED: Final = 100

# --- PostgreSQL
POSTGRES_POOL_MIN: Final = 1
POSTGRES_POOL_MAX: Final = 10
"""Connections of one worker. PostgreSQL's own bound is 100 by default: eight workers and their listeners fit."""
POSTGRES_ACQUIRE_SECONDS: Final = 3
"""How long a request waits for a free connection, or a claim for its turn, before it hears `unavailable`."""
CLAIMS_TOGETHER_MAX: Final = 32
"""Claims of one event in one transaction. Twice as many cost each an eighth less. But buyers who are answered together
come back together: 64 would be one transaction again and again, with nobody at work while it is written to the disk."""
CLAIM_COMMITS_MAX: Final = 2
"""Such transactions of one event under way in a worker: while one is written to the disk, the next is made."""
CLAIMS_WAITING_MAX: Final = 4_096
"""Claims of all events that wait in a worker: each is a request with its body in memory."""
POSTGRES_CONNECT_SECONDS: Final = 5
POSTGRES_COMMAND_SECONDS: Final = 6
"""The driver's own patience with one statement: the server's timeout must speak first, for it says what happened."""
POSTGRES_STATEMENT_MS: Final = 5_000
POSTGRES_LOCK_MS: Final = 3_000
ROLLED_BACK_TRIES: Final = 3
"""A request whose transaction is the victim of a deadlock is done so often, each time after a random pause up to …"""
ROLLED_BACK_PAUSE_SECONDS: Final = 0.1
POSTGRES_IDLE_IN_TRANSACTION_MS: Final = 10_000
"""A transaction whose worker sleeps gives its locks back after this."""
MIGRATION_SECONDS_MAX: Final = 120
"""How long a starting process waits for another one's migrations, and how long one statement of them may take."""

assert 0 < RUNNING_SHARE_OF_MARK < 1, "the same key may finish a checkout before the sweep ends its mark"
assert (
    PAYMENT_WAIT_SECONDS + POSTGRES_STATEMENT_MS / 1000 + REDIS_CALL_SECONDS < MARK_SECONDS * RUNNING_SHARE_OF_MARK
), "a request that waits for Stripe, a lock and Redis is not yet taken for dead"
assert OUTBOX_LEASE_SECONDS / LEASE_RENEWALS > COMPLETER_SECONDS, "most work ends before its lease is renewed at all"
assert PACE_PATIENCE_SECONDS <= PAYMENT_WAIT_SECONDS
assert SETTLE_SECONDS_MIN > CLOCK_SKEW_MS / 1000 + 1, "a second is what Stripe's times are rounded down by"
assert REDIS_WATCH_SECONDS < REDIS_CALL_SECONDS
assert WAKE_AGAIN_SECONDS + WAKE_PAUSE_SECONDS < ROOM_AWAKE_SECONDS / 1.5, "who was woken sleeps before it is told anew"
assert HOLD_SEATS_MAX <= WORK_TOGETHER_MAX
assert LOOK_SECONDS <= HOLD_SECONDS_MIN
assert LOOK_SECONDS <= MARK_SECONDS_MIN
assert MAIL_BATCH_SECONDS + 2 * MAIL_SEND_SECONDS + MAIL_CALL_SECONDS < MAIL_LEASE_SECONDS, "a lease outlives its batch"
QR_CODES_KEPT: Final = 1024
"""Drawn once, some 4 ms each, and kept: an open booking page asks again every half minute. A code is some 2 kB."""
WORKER_START_SECONDS: Final = 60
"""Adopting an event of 200,000 seats takes seconds; a worker that is not ready after a minute hangs."""
WORKER_START_TRIES: Final = 3
"""Workers that end before they ever served, that many times in a row, will not be cured by one more."""
WORKER_LAST_WORDS_SECONDS: Final = 5
"""A worker that cannot serve says why and ends; one that hangs instead is killed after this."""
WORKER_STOP_SECONDS: Final = 30
"""Sockets are told `bye` and drained in this time (reliability.md, F6); then the worker is killed."""
LISTEN_WAIT_SECONDS: Final = 1
"""How long a port in use is asked for again: orphaned workers let go of it in milliseconds."""
LISTEN_BACKLOG: Final = 4096
"""Connections that wait to be accepted: ten thousand come back within seconds after a restart (reliability.md, F34)."""

assert HOLD_LINES_MAX <= HOLD_SEATS_MAX
assert HOLD_SEATS_MAX <= GROUP_PLACES_MAX, "what one event grants can be asked for together with others"
assert HEAD_SECONDS_MAX < KEEPALIVE_SECONDS, "else the idle bound is what ends a trickle"
assert PING_SECONDS * 3 <= IDLE_SECONDS_MAX
assert BLOCK_BATCH <= VIOLATIONS_MAX, "what a socket asks to block can be refused seat by seat, and all of it is listed"
assert STAFF_TURN_SECONDS > ADOPT_WAIT_SECONDS + POSTGRES_COMMAND_SECONDS
assert HOLD_SECONDS_MAX <= LIFETIME_SECONDS_MAX
assert POSTGRES_LOCK_MS < POSTGRES_STATEMENT_MS < POSTGRES_COMMAND_SECONDS * 1000
assert SIGN_IN_ATTEMPTS_PER_ADDRESS < SIGN_IN_ATTEMPTS_PER_EMAIL
assert ADOPTS_AT_ONCE + STAFF_TURNS_AT_ONCE < POSTGRES_POOL_MAX, "whoever has his turn needs another connection"
assert CLAIM_COMMITS_MAX < POSTGRES_POOL_MAX, "an event whose claims wait for adopt keeps no other from the pool"
