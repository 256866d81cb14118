"""Judges what holders and staff did to the inventory, from what they were told and what is there at rest. Pure.

Each rule is an invariant of reliability.md, section 2 ("limits": what an event allows one holder). What becomes of a
hold that is paid for is tests/booking/checker.py's.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Literal

from msgspec import Struct

Verb = Literal[
    "hold", "add", "replace", "release", "extend", "hand_over", "block", "unblock",
    "checkout", "keep", "assign", "open", "pause", "look",
]  # fmt: skip
MAKES = ("hold", "add", "replace")
"""What names the seats that it wants."""


class Hold(Struct, frozen=True, kw_only=True):
    """A hold as an answer, or the book, tells it."""

    holder: str
    seats: frozenset[int]
    places: int = 0
    until_ms: float
    cap_ms: float
    """Its lifetime's end."""
    extensions: int = 0

    @property
    def size(self) -> int:
        return len(self.seats) + self.places


class Act(Struct, frozen=True, kw_only=True):
    """What somebody asked for and was told. The acts on one hold come one after the other."""

    client: str
    """The holder; empty for staff, who may change what is anybody's."""
    verb: Verb
    """`replace` is a move, too; `keep` is what a booking keeps of its hold, and its id the client where it is not the
    hold's own; `look` calls the inventory whole."""
    event: str = "e"
    hold: str = ""
    seats: frozenset[int] = frozenset()
    places: int = 0
    """What was asked for; of a block, what was blocked."""
    over_house: bool = False
    killed: int = 0
    """Of the places of a block: nobody takes anything over these."""
    channel: str = ""
    """Through which the hold is made, or which one is given or loses something; empty for one that has nothing."""
    address: str = ""
    """From where it was asked for."""
    key: str = ""
    request: str = ""
    """The acts of one request over several events bear the same."""
    instead_of: tuple[str, ...] = ()
    """The holds that it was moved from."""
    granted: bool
    began_ms: float
    ended_ms: float
    got: Hold | None = None
    """What the hold is afterwards; None where it is gone."""


class Rest(Struct, frozen=True, kw_only=True):
    """What an event is at rest, and what it allows."""

    seats: bytes
    """Each seat's state: 0 available, 1 held, 2 sold, 3 house, 4 kill."""
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Of places: available, held, sold, blocked."""
    capacity: int = 0
    owners: Mapping[int, str] = {}
    """The channel of each seat that belongs to one."""
    allotted: Mapping[str, int] = {}
    """How many places belong to each channel that has some."""
    holds: Mapping[str, Hold]
    now_ms: float
    lifetime_ms: float
    extensions: int
    max_size: int
    max_from_address: float = inf
    """How many holds one address may have."""


class History(Struct, frozen=True):
    """A run: all acts in the order in which they began, and every event at rest."""

    acts: tuple[Act, ...]
    rest: Mapping[str, Rest]


Life = list[Act]
"""The granted acts on one hold."""


def check(history: History) -> list[tuple[str, str]]:
    """All that is wrong: (rule, what)."""
    rules: dict[str, Callable[[History], Iterator[str]]] = {
        "I3": _held_once,
        "I4": _all_or_nothing,
        "I5": _places_are_there,
        "I6": _nothing_is_lost_or_made,
        "I7": _nothing_is_left_over,
        "I8": _bounded,
        "I9": _over_is_over,
        "I24": _one_hold_a_key,
        "limits": _within_limits,
        "channels": _through_its_channel,
        "sale": _while_it_is_open,
    }
    return [(rule, text) for rule, broken in rules.items() for text in broken(history)]


def _lives(history: History, event: str | None = None) -> dict[tuple[str, str], Life]:
    lives: dict[tuple[str, str], Life] = defaultdict(list)
    for act in history.acts:
        if act.granted and act.hold and event in (None, act.event):
            lives[act.event, act.hold].append(act)
    return lives


def _held_once(history: History) -> Iterator[str]:
    """No seat is two holds', or a hold's and blocked, at once."""
    for event in history.rest:
        owned: dict[int, list[tuple[float, float, str]]] = defaultdict(list)
        for (_, hold), life in _lives(history, event).items():
            since: dict[int, float] = {}
            until = inf
            for act in life:
                seats = act.got.seats if act.got else frozenset()
                for seat in since.keys() - seats:
                    owned[seat].append((since.pop(seat), min(act.began_ms, until), hold))
                since |= dict.fromkeys(seats - since.keys(), act.ended_ms)
                until = act.got.until_ms if act.got else 0
            for seat, began in since.items():
                owned[seat].append((began, until, hold))
        for began, ended, seat in _blocks(history, event):
            owned[seat].append((began, ended, "a block"))
        for seat, intervals in owned.items():
            ended, owner = 0.0, ""
            for begins, ends, name in sorted(intervals):
                if begins < ended:
                    yield f"seat {seat} of {event} was {owner}'s and {name}'s at once"
                if ends > ended:
                    ended, owner = ends, name


def _blocks(history: History, event: str) -> Iterator[tuple[float, float, int]]:
    acts = [act for act in history.acts if act.granted and act.event == event]
    for at, act in enumerate(acts):
        for seat in act.seats if act.verb == "block" else ():
            ends = (one.began_ms for one in acts[at + 1 :] if seat in one.seats and (one.verb, one.over_house) in OPENS)
            yield act.ended_ms, next(ends, inf), seat


OPENS = {("unblock", False), ("block", False), *((verb, True) for verb in MAKES)}


def _all_or_nothing(history: History) -> Iterator[str]:
    for (event, hold), life in _lives(history).items():
        before: Hold | None = None
        for act in life:
            seats, places = act.seats, act.places
            if act.verb in ("add", "extend", "hand_over", "checkout") and before is not None:
                seats, places = seats | before.seats, places + before.places
            elif act.verb == "release" and before is not None:
                seats, places = (before.seats - seats, before.places - places) if act.got else (frozenset(), 0)
            if (act.got.seats if act.got else frozenset(), act.got.places if act.got else 0) != (seats, places):
                yield f"{act.client} was to have {set(seats)} and {places} of {event} by {act.verb}, and got {act.got}"
            before = act.got
        found = history.rest[event].holds.get(hold)
        if before is not None and before.until_ms > history.rest[event].now_ms and found != before:
            yield f"{hold} was left as {before}, and is {found}"
        if before is None and found is not None:
            yield f"{hold} was given back, and is {found}"
    known = _lives(history).keys()
    for event, rest in history.rest.items():
        yield from (f"nobody was granted {hold} of {event}" for hold in rest.holds if (event, hold) not in known)
    outcomes: dict[str, set[bool]] = defaultdict(set)
    for act in history.acts:
        outcomes[act.request or repr(act)].add(act.granted)
    yield from (f"request {name} was granted in part" for name, found in outcomes.items() if len(found) > 1)


def _places_are_there(history: History) -> Iterator[str]:
    """Replayed in order, no area ever gives more than it has."""
    for event, rest in history.rest.items():
        if min(rest.counts) < 0:
            yield f"{event} counts below nothing: {rest.counts}"
        for most, blocked in _held_and_blocked(history, event):
            if most + blocked > rest.capacity:
                yield f"{event} has {rest.capacity} places, and {most} were held and {blocked} blocked at once"


def _held_and_blocked(history: History, event: str) -> Iterator[tuple[int, int]]:
    """How many places were, after each act. Staff who take some over a house hold take what is for sale first."""
    taken: dict[str, tuple[int, float]] = {}
    blocked = killed = 0
    for act in history.acts:
        if not act.granted or act.event != event:
            continue
        if act.verb == "block":
            blocked, killed = act.places, act.killed
        elif act.hold:
            taken[act.hold] = (act.got.places, act.got.until_ms) if act.got else (0, 0)
        most = sum(n for n, until in taken.values() if until > act.ended_ms)
        if act.over_house:
            blocked = max(killed, min(blocked, history.rest[event].capacity - most))
        yield most, blocked


def _nothing_is_lost_or_made(history: History) -> Iterator[str]:
    """available + held + sold + blocked is all there is, and each is what the holds and blocks come to."""
    for event, rest in history.rest.items():
        if sum(rest.counts) != rest.capacity:
            yield f"{event} has {rest.capacity} places, and counts {rest.counts}"
        if rest.counts[1] != (held := sum(hold.places for hold in rest.holds.values())):
            yield f"{event} counts {rest.counts[1]} places held, and {held} are"
        for _, places in [*_held_and_blocked(history, event)][-1:]:
            if rest.counts[3] != places:
                yield f"{event} counts {rest.counts[3]} places blocked, and {places} are"
        blocked: set[int] = set()
        for act in history.acts:
            if act.granted and act.event == event and act.verb in ("block", *MAKES, "unblock"):
                blocked = blocked | act.seats if act.verb == "block" else blocked - act.seats
        if blocked != (shown := {seat for seat, state in enumerate(rest.seats) if state > 2}):
            yield f"{event} shows {shown} as blocked, and {blocked} are"
    for act in history.acts:
        if act.verb == "look" and act.granted and act.places:
            yield f"{act.event} was called whole, and {act.places} of its counts were lost"


def _nothing_is_left_over(history: History) -> Iterator[str]:
    for event, rest in history.rest.items():
        named = {seat for hold in rest.holds.values() for seat in hold.seats}
        shown = {seat for seat, state in enumerate(rest.seats) if state == 1}
        if named != shown:
            yield f"{event} shows {shown} as held, and {named} are"
        for hold, record in rest.holds.items():
            if record.until_ms <= rest.now_ms:
                yield f"{hold} of {event} should have ended"


def _bounded(history: History) -> Iterator[str]:
    """However often it is changed, no hold outlives what it was given at first."""
    lives = _lives(history)
    for (event, hold), life in lives.items():
        rules, before = history.rest[event], None
        for act in life:
            now = act.got
            if now is None:
                continue
            older = [before] if before else [_last(lives[one]) for one in lives if one[1] in act.instead_of]
            if act.client and not older and now.cap_ms > act.ended_ms + rules.lifetime_ms:
                yield f"{hold} may live until {now.cap_ms}, and began at {act.ended_ms}"
            if now.until_ms > now.cap_ms or now.extensions > rules.extensions:
                yield f"{hold} is {now}: longer, or more often put off, than allowed"
            for old in older:
                if now.cap_ms > old.cap_ms or (now.until_ms > old.until_ms and act.verb != "extend"):
                    yield f"{hold} won time by {act.verb}: {old} became {now}"
                if now.extensions != old.extensions + (act.verb == "extend"):
                    yield f"{hold} was put off {old.extensions} times, and {now.extensions} after {act.verb}"
            before = now


def _last(life: Life) -> Hold:
    """What a hold was before it was moved elsewhere."""
    return [act.got for act in life if act.got][-1]


def _over_is_over(history: History) -> Iterator[str]:
    """Nothing is granted on a hold that is another's, has run out or was given back."""
    lives = _lives(history)
    for (event, hold), life in lives.items():
        known, marked = life[0].got, False
        for old in (lives[one][0].got for one in lives if one[1] in life[0].instead_of):
            if old is not None and life[0].began_ms > old.until_ms:
                yield f"{hold} of {event} is instead of one that had run out"
        for act in life[1:]:
            if known is None:
                yield f"{act.client} was granted to {act.verb} {hold} of {event}, which had been given back"
                break
            if act.client not in ("", known.holder):
                yield f"{act.client} was granted to {act.verb} {hold} of {event}, which is {known.holder}'s"
            if marked and act.verb not in ("keep", "hand_over"):
                yield f"{act.client} was granted to {act.verb} {hold} of {event}, which is being paid for"
            marked = marked or act.verb == "checkout"
            if act.began_ms > known.until_ms and act.verb != "release":
                yield f"{act.client} was granted to {act.verb} {hold} of {event}, which had run out"
            known = act.got


def _one_hold_a_key(history: History) -> Iterator[str]:
    made: dict[tuple[str, str, str], set[tuple[str, str, frozenset[int], int]]] = defaultdict(set)
    for act in history.acts:
        if act.key and act.granted:
            made[act.event, act.client, act.key].add((act.hold, act.verb, act.seats, act.places))
    yield from (f"{key} was answered with {found}" for key, found in made.items() if len(found) > 1)


def _within_limits(history: History) -> Iterator[str]:
    for event, rest in history.rest.items():
        now: dict[str, Hold] = {}
        origins: dict[str, str] = {}
        for act in history.acts:
            if not act.granted or act.event != event or not act.hold:
                continue
            now.pop(act.hold, None)
            origins.setdefault(act.hold, act.address)
            if act.got:
                now[act.hold] = act.got
            from_there = Counter(origins[name] for name, hold in now.items() if hold.until_ms > act.ended_ms)
            if act.address and from_there[act.address] > rest.max_from_address:
                yield f"{act.address} has {from_there[act.address]} holds of {event} after {act.verb}"
            sizes: Counter[str] = Counter()
            for hold in now.values():
                sizes[hold.holder] += hold.size if hold.until_ms > act.ended_ms else 0
            yield from (f"{who} has {n} of {event} after {act.verb}" for who, n in sizes.items() if n > rest.max_size)


def _through_its_channel(history: History) -> Iterator[str]:
    """What belongs to a channel is sold through it alone, and is its own until it is opened."""
    for event, rest in history.rest.items():
        owners: dict[int, str] = {}
        allotted: dict[str, int] = {}
        now: dict[str, tuple[str, Hold]] = {}
        for act in history.acts:
            if not act.granted or act.event != event:
                continue
            if act.verb in ("assign", "open"):
                for seat in act.seats:
                    foreign = [
                        one for one, (through, hold) in now.items() if seat in hold.seats and through != act.channel
                    ]
                    if act.verb == "assign" and foreign:
                        yield f"seat {seat} of {event} was given to {act.channel}, and is {foreign}'s"
                owners |= dict.fromkeys(act.seats, act.channel if act.verb == "assign" else "")
                allotted[act.channel] = act.places
            elif act.hold:
                through, before = now.pop(act.hold, (act.channel, None))
                fresh = (act.got.seats if act.got else frozenset()) - (before.seats if before else frozenset())
                wrong = {seat for seat in fresh if owners.get(seat, "") not in ("", through)}
                if wrong and act.client:
                    yield f"{act.client} took {wrong} of {event} through {through or 'no channel'}, which are others'"
                if act.got:
                    now[act.hold] = through, act.got
            taken: Counter[str] = Counter()
            for through, hold in now.values():
                taken[through] += hold.places if hold.until_ms > act.ended_ms else 0
            kept = sum(max(0, n - taken[channel]) for channel, n in allotted.items())
            if taken.total() + kept > rest.capacity:
                yield f"{event} has {rest.capacity} places, {taken.total()} taken and {kept} kept after {act.verb}"
        owners = {seat: channel for seat, channel in owners.items() if channel}
        allotted = {channel: n for channel, n in allotted.items() if n}
        if (owners, allotted) != (dict(rest.owners), dict(rest.allotted)):
            yield f"{event} was left with {owners} and {allotted}, and has {rest.owners} and {rest.allotted}"


def _while_it_is_open(history: History) -> Iterator[str]:
    """Nobody gets anything of a sale that is paused."""
    for event in history.rest:
        acts = [act for act in history.acts if act.event == event and act.granted]
        paused = min((act.ended_ms for act in acts if act.verb == "pause"), default=inf)
        for act in acts:
            if act.client and act.verb in (*MAKES, "extend", "checkout") and act.began_ms > paused:
                yield f"{act.client} was granted to {act.verb} something of {event}, whose sale is paused"


def broken_rules(history: History) -> set[str]:
    return {rule for rule, _ in check(history)}


def in_order(acts: Sequence[Act]) -> tuple[Act, ...]:
    return tuple(sorted(acts, key=lambda act: act.began_ms))
