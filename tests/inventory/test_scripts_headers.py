"""Every script's header is a contract: it says what the script does, and Python calls it so.

`inventory_fixtures` compares every call that the inventory's tests make with the headers too, on real Valkey.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import pytest
from inventory_house import SWEEP_KEYS
from script_headers import Header, assert_call_as_said, header, script_names, values_of

from lml_live import limits
from lml_live.infra.assets import asset_dir, asset_text
from lml_live.infra.redis import load_script, statements_of
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Refusal
from lml_live.inventory.groups import Ending, EventChange, EventWish, Extension, GroupHolds
from lml_live.inventory.holds import Asked, Holds
from lml_live.inventory.records import KEY_NAMES, Entry, Record, Sale, SalesChannel, decode_record, pack_rules
from lml_live.inventory.returns import Returns
from lml_live.inventory.staff_holds import ActNote, StaffHolds
from lml_live.inventory.together import Act
from lml_live.inventory.wishes import AreaBlock

SCRIPT_LINES_MAX = 80
# Commands whose cost grows with the whole database or a whole key that has no bound.
STAMP_WORDS = {"no_book", "other_stamp"}
FORBIDDEN = {"KEYS", "SCAN", "HSCAN", "SSCAN", "ZSCAN", "FLUSHALL", "FLUSHDB", "EVAL", "SMEMBERS"}

INCLUDE = asset_text("lua", "include", "inventory.lua")
INCLUDES = "".join(asset_text("lua", "include", path.name) for path in sorted((asset_dir("lua") / "include").iterdir()))
HOLDING = asset_text("lua", "include", "holding.lua")
GROUP = asset_text("lua", "include", "group.lua")
_FUNCTION = re.compile(r"^local function (\w+)\([^\n]* end$|^local function (\w+)\(.*?^end$", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"return (?:nil, )?\{\s*([^,}]*)|return ('\w+') \.\.")
_LITERAL = re.compile(r"'(\w+)'")


def functions_of_the_include() -> dict[str, str]:
    code = "\n".join(line.partition("--")[0] for line in INCLUDES.splitlines())
    return {match[1] or match[2]: match[0] for match in _FUNCTION.finditer(code)}


def first_words(code: str) -> set[str]:
    """The first words of the lists that a piece of Lua returns."""
    words: set[str] = set()
    for in_list, in_string in _WORD.findall(code):
        literals = _LITERAL.findall(in_list or in_string)
        # `{cond == 'expired' and 'expired' or 'not_found'}`: what is compared with is no answer.
        words |= set(literals[-2:] if " and " in in_list else literals)
    return words


def words_of(script: Header) -> set[str]:
    """The words with which a script can answer, its own and those of the functions that it uses."""
    functions = functions_of_the_include()
    words = first_words(script.body) | set(re.findall(r"\b(?:answers?|refusal)\b[^\n={]* = \{'(\w+)'", script.body))
    codes, used = [script.body], set[str]()
    while codes:
        code = codes.pop()
        for name in functions.keys() - used:
            if re.search(rf"\b{name}\(", code):
                used.add(name)
                words |= first_words(functions[name])
                codes.append(functions[name])
    return words


def test_the_include_is_read_right() -> None:
    functions = functions_of_the_include()
    assert len(functions) == INCLUDES.count("\nlocal function ")
    assert first_words(functions["stamp_refusal"]) == {"no_book", "other_stamp"}
    assert first_words(functions["own_active_hold"]) == {"not_found", "expired", "in_checkout"}
    assert first_words(functions["answer_of_key"]) == {"mismatch", "expired", "not_found", "same"}


@pytest.mark.parametrize("name", script_names())
class TestHeader:
    def test_it_names_every_key_and_argument_that_is_used(self, name: str) -> None:
        script = header(name)
        for kind, named in (("KEYS", script.keys), ("ARGV", script.args)):
            used = {int(number) for number in re.findall(rf"\b{kind}\[(\d+)\]", script.body)}
            spread = re.search(rf"unpack\({kind}|, #{kind} do", script.body)
            # These take KEYS whole: seats, book, deadlines, areas.
            whole = kind == "KEYS" and re.search(r"\bend_for_(good|house)\(KEYS,", script.body)
            # The acts of the include work on KEYS 1 seats and 4 areas.
            if kind == "KEYS" and re.search(r"\b(hold|release)(\(|, )act, ", script.body):
                assert (named[0], named[3]) == ("seats", "areas")
                used |= {1, 4}
            if kind == "KEYS" and "hand_losses(" in script.body:
                assert named[:2] == ("book", "deadlines")
                used |= {1, 2}
            if whole:
                assert named[:4] == ("seats", "book", "deadlines", "areas")
                used |= {1, 2, 3, 4}
            if kind == "KEYS" and script.each:  # open_books hands them out
                assert named == ("seats", "book", "deadlines", "areas", "log")
                used |= {1, 2, 3, 4, 5}
            assert used <= set(range(1, len(named) + 1)), f"{kind} beyond the header's"
            unused = set(range(1, len(named) + 1)) - used
            if not spread:
                assert {named[number - 1] for number in unused} <= {"skew_ms"}, f"{kind} that nobody uses"
        assert set(script.keys) <= set(KEY_NAMES)

    def test_it_names_every_answer(self, name: str) -> None:
        script = header(name)
        words = words_of(script)
        if name == "hold_together":  # whose acts are answered as those scripts answer
            words -= {word for one in ("hold_seats", "release_hold") for word in header(one).answers} - STAMP_WORDS
            words -= {"later", "failed"}
        assert set(script.answers) == words

    def test_it_begins_with_a_sentence(self, name: str) -> None:
        first = asset_text("lua", f"{name}.lua").splitlines()[0]
        assert re.fullmatch(r"-- [A-Z].*\.", first)

    def test_it_is_short_and_asks_nothing_that_grows(self, name: str) -> None:
        text = asset_text("lua", f"{name}.lua")
        assert len(text.splitlines()) <= SCRIPT_LINES_MAX
        commands = set(re.findall(r"redis\.p?call\('(\w+)'", load_script(name).text))
        assert not commands & FORBIDDEN
        assert "call(KEYS" not in text

    def test_every_key_it_touches_is_handed_to_it(self, name: str) -> None:
        """A key that is put together inside a script would be on another node of a cluster."""
        keys = re.findall(r"redis\.call\('\w+', ([^,)]+)", load_script(name).text)
        assert set(keys) <= {
            *(f"KEYS[{n}]" for n in range(1, 8)),
            "key",
            "book",
            "seats",
            "areas",
            "log",
            *(f"keys[{n}]" for n in range(1, 6)),
        }

    def test_nothing_refuses_after_it_began_to_change(self, name: str) -> None:
        assert_refuses_first(asset_text("lua", f"{name}.lua"))

    def test_it_has_a_caller_and_a_test(self, name: str) -> None:
        root = asset_dir("lua").parent
        callers = [path for path in (root / "lml_live").rglob("*.py") if f'"{name}"' in path.read_text()]
        assert callers, "nobody calls it"
        verb = {
            "expire_holds": "sweep",
            "close_holds": "close_some",
            "read_inventory": "inventory",
            "check_book": "run",
            "hold_together": "run",
            "forget_address": "step",
        }.get(name, name)
        method = {"stamp_event": "restamp"}.get(verb, "recover" if verb.startswith("adopt") else verb)
        tests = [path for path in (root / "tests" / "inventory").glob("test_*.py") if f".{method}(" in path.read_text()]
        assert tests, "nobody tests it"


def assert_refuses_first(code: str) -> None:
    """A script, or a function, looks at everything before it changes anything."""
    before, mark, after = code.partition("-- Nothing below refuses.")
    if mark:
        writes = (
            r"(set|put)_seats|move_areas|[.]move|write_log|log_packed|append_entry"
            r"|'(HSET|ZADD|DEL|UNLINK|ZREM|SETRANGE)'"
        )
        assert not re.search(writes, before)
        refusals = {"taken", "full", "limit", "not_found", "expired", "mismatch", "nothing", "in_checkout", "orphan"}
        assert not first_words(after) & refusals


def test_an_include_is_statements_alone() -> None:
    """`load_script` puts in what a script needs of them: all else would be lost without a word."""
    for path in sorted((asset_dir("lua") / "include").glob("*.lua")):
        left = text = path.read_text()
        for statement in statements_of(text):
            left = left.replace(statement, "", 1)
        assert not [line for line in left.splitlines() if line and not line.startswith("--")], path.name


def test_what_is_made_when_called_is_called_through_its_maker() -> None:
    """A name that nobody has made is found out only by the call that needs it."""
    text = load_script("hold_seats").text
    seldom = [line.split()[2:] for line in text.splitlines() if line.startswith("-- SELDOM ")]
    assert seldom
    for names in seldom:
        before, made, behind = re.split(
            rf"^function make_{names[0]}\(\)\n|^return {{{names[0]} = .*}}\nend\n", text, flags=re.M
        )
        for name in names:
            assert f"local function {name}(" in made
            for part in re.split(rf"\b{name}\(", re.sub(r"--.*", "", before + behind))[:-1]:
                assert part.endswith(f"make_{names[0]}()."), f"{name} is called past its maker"


def test_an_act_that_is_decided_with_others_refuses_first() -> None:
    for function in ("hold(act, marker, raw, lost, there, now, newer)", "release(act, raw, raw_tally)"):
        code = HOLDING.partition(f"\nlocal function {function}")[2].partition("\nend\n")[0]
        assert "-- Nothing below refuses." in code
        assert_refuses_first(code)


# --- The same numbers and places in both languages


def test_positions_in_a_record_are_the_fields_of_the_struct() -> None:
    names, numbers = re.search(r"local (HOLDER.*?) =\s+([\d, ]+)", INCLUDE, re.DOTALL).groups()  # type: ignore[union-attr]
    assert [int(number) for number in numbers.split(",")] == list(range(1, len(names.split(",")) + 1))
    fields = [field.removesuffix("_ms").upper() for field in Record.__struct_fields__]
    assert [name.strip() for name in names.split(",")] == fields


def test_an_entry_is_packed_in_the_order_of_the_struct() -> None:
    assert "cmsgpack.pack({act, origin, seats, areas, holds})" in INCLUDE
    assert "'\\149' .. cmsgpack.pack(act, request.origin, changed_seats, changed_areas)" in GROUP
    assert "start .. cmsgpack.pack(changed) .. (ledger and ledger.write() or '\\144') .. holds" in HOLDING
    assert Entry.__struct_fields__ == ("act", "origin", "seats", "areas", "holds")


def test_states_are_the_seat_maps() -> None:
    assert "local AVAILABLE, HELD, SOLD, HOUSE, KILL = 0, 1, 2, 3, 4" in INCLUDE
    states = ("BYTE_AVAILABLE", "BYTE_HELD", "BYTE_SOLD", "BYTE_HOUSE", "BYTE_KILL")
    assert [getattr(seatmap, state) for state in states] == [0, 1, 2, 3, 4]
    assert seatmap.STATE_MASK == 8 - 1
    assert "% 8" in INCLUDE


def test_bounds_are_those_of_limits() -> None:
    bounds = re.search(r"local LOG_ENTRIES_MAX, TOMBSTONE_MS = (\d+), (\d+)", INCLUDE)
    assert bounds is not None
    assert (int(bounds[1]), int(bounds[2])) == (limits.LOG_ENTRIES_MAX, limits.TOMBSTONE_MS)


# --- Python hands each argument to the place of its name


class CallRecorder:
    """Stands where the book is, and keeps what a script would have been given by name."""

    def __init__(self) -> None:
        self.skew_ms = 7
        self.together = self
        self.state = "open"
        self.given: dict[str, Any] = {}
        self.script = ""

    async def seat_index(self, _: Sale) -> dict[str, int]:
        return {"two": 2, "four": 4}

    async def sale(self, event: str) -> Sale:
        return self.facts(event)

    def facts(self, event: str = "e") -> Sale:
        return Sale(
            event=event,
            number=42,
            group="season",
            state=self.state,
            on_sale_at_ms=1_111,
            max_seats=9,
            hold_seconds=300,
            extensions=3,
            lifetime_seconds=1_800,
            orphan_rule="strict",
            expired_holds=2,
            cooldown_seconds=10,
            rehold_seconds=20,
            release_jitter_seconds=5,
            address_holds=7,
            address_seats=30,
            tick_ms=None,
            revision=5,
            prices_version=1,
            epoch=6,
            run_id="",
            layout_id="hall",
            layout_version=1,
            layout_hash="",
            seat_count=10,
            areas={},
            channels={"web": SalesChannel(3), "box-office": SalesChannel(4), "agency": SalesChannel(5, 99)},
        )

    def ready(self, event: str) -> Sale:
        return self.facts()

    async def prepare(self, event: str) -> Sale:
        return self.facts()

    async def wait(self, sale: Sale, act: Act) -> list[Any]:
        """Where `Together` is: an act alone, by the names of its values."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.decide(sale, act, answer)
        return await answer  # type: ignore[no-any-return]

    def decide(self, sale: Sale, act: Act, sink: Any) -> None:
        args = [sale.stamp, pack_rules(sale, self.skew_ms), act.packed]
        assert_call_as_said(act.script, [sale.key(key) for key in SWEEP_KEYS], args)
        said, self.script = header(act.script), act.script
        for name, value in zip(said.args[1:], args[1:], strict=True):
            assert isinstance(value, bytes)
            names, values = said.packed[name], values_of(value)
            if names[-1].endswith("…"):
                names, values = names, [*values[: len(names) - 1], values[len(names) - 1 :]]  # type: ignore[list-item]
            self.given |= dict(zip(names, values, strict=True))
        sink.set_result([b"not_found"])

    def under(self, layouts: object) -> "CallRecorder":
        return self

    async def disagreed(self, event: str, sale: Sale, answer: list[Any]) -> bool:
        return False

    async def run(
        self, event: str, script: str, keys: Sequence[str], args: Callable[[Sale], Sequence[Any]], *, wait: bool = False
    ) -> tuple[Sale, list[Any]]:
        sale = await self.sale(event)
        given = [sale.stamp, *args(sale)]
        assert_call_as_said(script, [sale.key(key) for key in keys], given)
        self.given, self.script = dict(zip(header(script).args, given, strict=True)), script
        if script.endswith("block_seats"):
            return sale, [b"blocked", 1, b"\x90", b"\x90"]
        if script == "read_holds":
            return sale, [b"holds", 1]
        return sale, [
            b"nothing" if script in ("restore_hold", "sell_hold", "free_booking", "undo_taking") else b"not_found"
        ]


SEATS, AREAS = [(4, "adult"), (2, "child")], [("pit", "adult", 2)]
SEATS_PACKED, AREAS_PACKED = (
    msgspec.msgpack.encode([2, "child", 4, "adult"]),
    msgspec.msgpack.encode(["pit", "adult", 2]),
)
COMMON = {"stamp": "6:5", "skew_ms": 7, "holder": "anna", "hold_id": "42-h", "origin": "socket"}
SALE = {"opens_ms": 1_111, "max_seats": 9, "hold_ms": 300_000, "lifetime_ms": 1_800_000, "max_extensions": 3}
BOUNDS = {"max_holds": limits.HOLDS_PER_HOLDER_MAX, "max_keys": limits.KEYS_PER_HOLD_MAX}
WISHES = {"seats": SEATS_PACKED, "areas": AREAS_PACKED}
LOSSES = {"expired_holds": 2, "cooldown_ms": 10_000, "cooldown_max_ms": 600_000, "rehold_ms": 20_000}
BOOKING = {"booking": "b1", "origin": ""}
ADDRESS = {"address": "ad", "address_holds": 7, "address_seats": 30}


def around(seats: Iterable[int], rule: str) -> list[list[int]]:
    """Stands for the windows of a layout's plan."""
    assert rule == "strict"
    return [*([seat - 1, seat, seat + 1] for seat in seats), [7], [9, 6, 8], [1, 5]]


RULE = {"orphan_rule": "strict", "windows": msgspec.msgpack.encode([[3, 5], [1, 3], [7], [9, 6, 8], [5, 1]])}

Make = Callable[[Holds], Any]
CALLS: dict[str, tuple[Make, dict[str, Any]]] = {
    "find_key": (lambda holds: holds.find_key("e", "anna", "", key="k", asked=("best", 2)), {}),
    "add_to_hold": (
        lambda holds: holds.add_to_hold(
            "e", "anna", "42-h", SEATS, AREAS, key="k", origin="socket", windows=around, address="ad"
        ),
        {**WISHES, **RULE, **ADDRESS},
    ),
    "replace_hold": (
        lambda holds: holds.replace_hold(
            "e", "anna", "42-h", SEATS, AREAS, key="k", origin="socket", expected_seq=8, windows=around, address="ad"
        ),
        {**WISHES, "expected_seq": "8", **RULE, **ADDRESS},
    ),
    "extend_hold": (lambda holds: holds.extend_hold("e", "anna", "42-h", key="k", origin="socket"), {}),
    "read_hold": (lambda holds: holds.read_hold("e", "anna", "42-h"), {}),
    "read_holds": (lambda holds: holds.read_holds("e", "anna"), {}),
    "checkout_hold": (lambda holds: holds.checkout_hold("e", "anna", "42-h", "b1"), {**BOOKING, "mark_ms": 30_000}),
    "block_seats": (
        lambda holds: holds.block_seats("e", [4, 2], {"pit": 2}, 3, origin="socket"),
        {"state": 3, "seats": msgspec.msgpack.encode([2, 4]), "areas": msgspec.msgpack.encode(["pit", "", 2])},
    ),
    "unblock_seats": (
        lambda holds: holds.unblock_seats("e", [4, 2], origin="socket"),
        {"seats": msgspec.msgpack.encode([2, 4])},
    ),
    "restore_hold": (
        lambda holds: holds.restore_hold("e", "42-h", "b1"),
        {**BOOKING, "grace_ms": limits.CHECKOUT_GRACE_MS},
    ),
    "sell_hold": (lambda holds: holds.sell_hold("e", "42-h", "b1"), BOOKING),
    "free_booking": (
        lambda holds: holds.free_booking("e", "42-h", "b1", "expired"),
        {**BOOKING, "reason": "expired", **LOSSES},
    ),
}


async def test_what_a_booking_keeps_is_where_the_header_says() -> None:
    book = CallRecorder()
    await Returns(book).keep_places("e", "42-h", "b1", ["four", "two"], AREAS)  # type: ignore[arg-type]
    assert book.script == "keep_places"
    packed = {"seats": msgspec.msgpack.encode([2, 4]), "areas": AREAS_PACKED}
    assert book.given == {"stamp": "6:5", "skew_ms": 7, "hold_id": "42-h", **BOOKING, **packed}


@pytest.mark.parametrize("name", CALLS)
async def test_each_argument_is_where_the_header_says(name: str) -> None:
    book = CallRecorder()
    act, own = CALLS[name]
    await act(Holds(book, b"secret"))  # type: ignore[arg-type]
    assert book.script == name
    expected = COMMON | SALE | BOUNDS | own
    for argument, value in book.given.items():
        match argument:
            case "digest":
                assert re.fullmatch("[0-9a-f]{20}", value)
            case "request_hash":
                assert re.fullmatch("[0-9a-f]{32}", value)
            case "hold_id" if expected[argument] is None:
                assert value == f"42-{book.given['digest']}"
            case _:
                assert value == expected[argument], f"{argument} of {name}"


HOLD_VALUES = {
    "verb": "hold",
    "tally_field": "o:anna",
    "hold_id": None,
    "hold_field": None,
    "key_field": None,
    "marker": None,
    "size": 4,
    "areas": AREAS_PACKED,
    "channel": 3,
    "lost_field": "x:anna",
    "address_field": "a:ad",
    "run…": [2, 1, 4, 1],
}
RELEASE_VALUES = {
    "verb": "release",
    "tally_field": "o:anna",
    "hold_field": "h:42-h",
    "hold_id": "42-h",
    "holder": "anna",
    "seats": b"\x92\x02\x04",
    "areas": AREAS_PACKED,
}
RULES_VALUES = {
    "log_id": "6-*",
    "skew_ms": 7,
    "opens_ms": 1_111,
    "max_seats": 9,
    "max_holds": limits.HOLDS_PER_HOLDER_MAX,
    "hold_ms": 300_000,
    "lifetime_ms": 1_800_000,
    "orphan_rule": "strict",
    "address_holds": 7,
    "address_seats": 30,
}


def as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


async def test_each_value_of_a_hold_is_where_the_header_says() -> None:
    book = CallRecorder()
    holds = Holds(book, b"secret")  # type: ignore[arg-type]
    asked = {"key": "k", "origin": "socket", "windows": around, "through": "web", "address": "ad"}
    await holds.hold_seats("e", "anna", SEATS, AREAS, **asked)
    given = book.given
    digest = given["hold_id"].removeprefix("42-")
    assert re.fullmatch("[0-9a-f]{20}", digest)
    assert given["hold_field"] == f"h:42-{digest}"
    assert given["key_field"] == f"k:{digest}"
    hold, request = msgspec.msgpack.decode(as_bytes(given["marker"]))
    assert (hold, len(request)) == (f"42-{digest}", 32)
    assert msgspec.msgpack.decode(as_bytes(given["name"])) == f"42-{digest}"
    assert msgspec.msgpack.decode(as_bytes(given["origin"])) == "socket"
    assert msgspec.msgpack.decode(as_bytes(given["tally"])) == [4, f"42-{digest}"]
    assert msgspec.msgpack.decode(as_bytes(given["windows"])) == [[3, 5], [1, 3], [7], [9, 6, 8], [5, 1]]
    times = b"".join(map(msgspec.msgpack.encode, (1, 2, 3, 4)))
    record = decode_record(as_bytes(given["record"]) + times)
    assert record == Record(
        "anna", "active", 0, "", (2, "child", 4, "adult"), ("pit", "adult", 2), "own", (digest,), 3, 1, 2, 3, 4
    )
    assert {name: given[name] for name, value in HOLD_VALUES.items() if value is not None} == {
        name: value for name, value in HOLD_VALUES.items() if value is not None
    }
    assert {name: given[name] for name in RULES_VALUES} == RULES_VALUES
    await assert_asked_alike(
        book, lambda sink: holds.ask_to_hold(sink, "e", "", "anna", SEATS, AREAS, **asked), "hold_seats"
    )
    book.state = "paused"
    assert holds.ask_to_hold(None, "e", "", "anna", SEATS, AREAS, **asked) is None  # type: ignore[arg-type]
    book.state = "open"
    assert holds.ask_to_hold(None, "e", "of another", "anna", SEATS, AREAS, **asked) is None  # type: ignore[arg-type]
    await holds.hold_seats("e", "anna", SEATS, (), key=None, windows=around)
    given = book.given
    assert (given["key_field"], given["marker"], given["areas"], given["size"]) == ("k:", "", "", 2)
    assert given["address_field"] == ""


async def assert_asked_alike(book: CallRecorder, ask: Callable[[Any], Asked | None], script: str) -> None:
    """What is asked without a coroutine is the same call; what it answers is told, and read, alike."""
    waited, book.given = dict(book.given), {}
    sink: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asked = ask(sink)
    assert asked is not None
    assert (book.script, book.given) == (script, waited)
    assert asked.read(await sink) == Refusal("hold_not_found", "There is no such hold.")
    for word in ([b"no_book"], [b"other_stamp", b"1:1"], [b"again"]):
        assert asked.read(word) is None
    book.given = waited


async def test_each_value_of_a_release_is_where_the_header_says() -> None:
    book = CallRecorder()
    holds = Holds(book, b"secret")  # type: ignore[arg-type]
    await holds.release_hold("e", "anna", "42-h", [4, 2], AREAS, origin="socket")
    assert book.script == "release_hold"
    given = book.given
    assert {name: given[name] for name in RELEASE_VALUES} == RELEASE_VALUES
    assert {name: given[name] for name in RULES_VALUES} == RULES_VALUES
    assert msgspec.msgpack.decode(as_bytes(given["origin"])) == "socket"
    assert msgspec.msgpack.decode(as_bytes(given["name"])) == "42-h"
    ending = b"".join(map(msgspec.msgpack.encode, ((), 3, 1, 2, 3, 4)))
    tombstone = decode_record(as_bytes(given["tombstone"]) + ending)
    assert tombstone == Record("anna", "gone", 0, "", (), (), "own", (), 3, 1, 2, 3, 4)
    await assert_asked_alike(
        book,
        lambda sink: holds.ask_to_release(sink, "e", "", "anna", "42-h", [4, 2], AREAS, origin="socket"),
        "release_hold",
    )
    await holds.release_hold("e", "anna", "42-h")
    given = book.given
    assert (given["seats"], given["areas"]) == ("", "")


BLOCKS = {"pit": AreaBlock(9, 6)}
PACKED_BLOCKS = msgspec.msgpack.encode(["pit", 9, 6])
STAFF_CALLS: dict[str, tuple[Callable[[StaffHolds], Any], dict[str, Any]]] = {
    "hold_for_customer": (
        lambda acts: acts.hold_for_customer(
            "e", "anna", "42-s-h", SEATS, AREAS, over_house=True, house=BLOCKS, note=ActNote(8, 6)
        ),
        {
            "holder": "anna",
            "max_holds": limits.HOLDS_PER_HOLDER_MAX,
            "also": seatmap.BYTE_HOUSE,
            "channel": 4,
            "house": PACKED_BLOCKS,
            "note": 8,
        },
    ),
    "move_hold": (
        lambda acts: acts.move_hold("e", "42-s-h", SEATS, AREAS, over_house=False, note=ActNote(8, 6)),
        {"also": seatmap.BYTE_AVAILABLE, "channel": 4, "act": 8},
    ),
    "withdraw_hold": (
        lambda acts: acts.withdraw_hold("e", "42-s-h", {4, 2}, BLOCKS),
        {"house": msgspec.msgpack.encode([2, 4]), "areas": PACKED_BLOCKS, "act": 0},
    ),
    "settle_act": (
        lambda acts: acts.settle_act("e", 8),
        {"number": 8},
    ),
    "settle_hold": (
        lambda acts: acts.settle_hold("e", "42-s-h", 8),
        {"hold_id": "42-s-h", "note": 8},
    ),
    "take_for_sale": (
        lambda acts: acts.take_for_sale(
            "e", "anna", "42-s-h", "b1", SEATS, AREAS, over_house=True, mark_seconds=30, house=BLOCKS
        ),
        {
            "holder": "anna",
            "booking": "b1",
            "mark_ms": 30_000,
            "also": seatmap.BYTE_HOUSE,
            "channel": 4,
            "house": PACKED_BLOCKS,
        },
    ),
    "undo_taking": (
        lambda acts: acts.undo_taking("e", "42-s-h", "b1", {4, 2}, BLOCKS),
        {"booking": "b1", "house": msgspec.msgpack.encode([2, 4]), "areas": PACKED_BLOCKS},
    ),
}


@pytest.mark.parametrize("name", STAFF_CALLS)
async def test_each_argument_of_staff_is_where_the_header_says(name: str) -> None:
    book = CallRecorder()
    act, own = STAFF_CALLS[name]
    await act(StaffHolds(book))  # type: ignore[arg-type]
    assert book.script == name
    common = {"stamp": "6:5", "skew_ms": 7, "hold_id": "42-s-h", "origin": "", "max_seats": limits.HOLD_SEATS_MAX}
    common |= {"until_ms": limits.UNTIL_RELEASED_MS, **WISHES}
    assert book.given == {argument: (common | own)[argument] for argument in header(name).args}


class GroupCallRecorder(CallRecorder):
    """The same for a step over several events."""

    async def run_group(
        self, events: Sequence[str], script: str, keys: Sequence[str], args: Callable[[Sequence[Sale]], Sequence[Any]]
    ) -> tuple[list[Sale], list[Any]]:
        sales = [await self.sale(event) for event in events]
        given = args(sales)
        assert_call_as_said(script, [sale.key(key) for sale in sales for key in keys], given)
        self.given, self.script = dict(zip(header(script).args, given, strict=True)), script
        return sales, [b"not_found"]


WISH = EventWish("e", SEATS, AREAS, around)
GROUP_CALLS: dict[str, tuple[Callable[[GroupHolds], Any], dict[str, Any]]] = {
    "hold_group": (
        lambda acts: acts.hold_group(
            "anna", [WISH, EventWish("f", SEATS, AREAS, around)], key="k", origin="socket", address="ad"
        ),
        {"hold": None, "is_there": False},
    ),
    "move_group": (
        lambda acts: acts.move_group("anna", {"e": "42-h"}, [WISH], key="k", origin="socket", address="ad"),
        {"hold": "42-h", "is_there": True},
    ),
    "release_group": (lambda acts: acts.release_group("anna", {"e": "42-h"}, origin="socket"), {"hold": "42-h"}),
    "extend_group": (lambda acts: acts.extend_group("anna", {"e": "42-h"}, key="k", origin="socket"), {"hold": "42-h"}),
}

WISHED = {
    "opens_ms": 1_111,
    "max_seats": 9,
    "max_holds": limits.HOLDS_PER_HOLDER_MAX,
    "hold_ms": 300_000,
    "lifetime_ms": 1_800_000,
    "address_holds": 7,
    "address_seats": 30,
    "orphan_rule": "strict",
    "channel": 3,
    "windows": msgspec.msgpack.decode(RULE["windows"]),
    "seats": [2, "child", 4, "adult"],
    "areas": ["pit", "adult", 2],
}
TOLD: dict[str, dict[str, Any]] = {
    "hold_group": WISHED,
    "move_group": WISHED,
    "release_group": {"seats": [], "areas": []},
    "extend_group": {"max_extensions": 3, "hold_ms": 300_000},
}
"""What a change says beside its stamp and its hold."""


@pytest.mark.parametrize("name", GROUP_CALLS)
async def test_each_argument_of_a_step_over_events_is_where_the_header_says(name: str) -> None:
    book = GroupCallRecorder()
    act, own = GROUP_CALLS[name]
    await act(GroupHolds(book, b"secret"))  # type: ignore[arg-type]
    assert book.script == name
    common = {"skew_ms": 7, "holder": "anna", "origin": "socket", "max_keys": limits.KEYS_PER_HOLD_MAX}
    common |= {"address": "ad", "max_places": limits.GROUP_PLACES_MAX}
    for argument, value in book.given.items():
        match argument:
            case "digest":
                assert re.fullmatch("[0-9a-f]{20}", value)
            case "request_hash":
                assert re.fullmatch("[0-9a-f]{32}", value)
            case "changes":
                for change in msgspec.msgpack.decode(value):
                    hold = f"42-{book.given['digest']}" if own["hold"] is None else own["hold"]
                    assert change == {"stamp": "6:5", **TOLD[name], **own, "hold": hold}
            case _:
                assert value == common[argument], f"{argument} of {name}"


def test_a_script_reads_no_field_of_a_change_that_python_does_not_send() -> None:
    scripts = "".join(asset_text("lua", f"{name}.lua") for name in GROUP_CALLS)
    read = set(re.findall(r"\bchange\.(\w+)", INCLUDES + scripts))
    assert read == {field for told in (EventChange, Ending, Extension) for field in told.__struct_fields__}


def test_every_public_act_is_compared() -> None:
    acts = {name for name in vars(Holds) if not name.startswith("_")} - {"event_of_hold", "under"}
    assert acts == {*CALLS, "hold_seats", "release_hold", "ask_to_hold", "ask_to_release"}
    assert {name for name in vars(GroupHolds) if not name.startswith("_")} - {"under"} == set(GROUP_CALLS)
