"""The headers of lua/*.lua as data, and the check that a call and its answer are what a header says."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec import Struct

from lml_live.infra.assets import asset_dir, asset_text

PACKED = ("RULES", "HOLD", "RELEASE")
"""Arguments that are several values, packed one after the other; a header names them by number, too."""
STRING_PARTS = {"times": 27, "now": 9, "ending": 9}
"""What follows the word of an answer that is one string, in bytes."""

_ITEM = re.compile(r"(\d+) ([a-z_]+(?:…)?)")


class Answer(Struct, frozen=True):
    """One alternative of RETURN: its word and the names of what follows."""

    word: str
    fields: tuple[str, ...]
    length: int | None = None
    """In bytes, of an answer that is one string."""

    @property
    def open_ended(self) -> bool:
        return bool(self.fields) and self.fields[-1].endswith("…")


class Header(Struct, frozen=True):
    """What a script promises."""

    name: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    packed: dict[str, tuple[str, ...]]
    """The names of the values inside an argument, by the argument's name."""
    answers: dict[str, Answer]
    each: bool
    """Whether the keys come once for each of several events, one event's after the other's."""
    body: str
    """The script without its comments."""


@cache
def header(name: str) -> Header:
    text = asset_text("lua", f"{name}.lua")
    lines: dict[str, list[str]] = {kind: [] for kind in ("KEYS", "ARGV", "RETURN", *PACKED)}
    for line in text.splitlines():
        word, _, rest = line.removeprefix("-- ").partition(" ")
        if line.startswith("-- ") and word in lines:
            lines[word].append(rest)
    answers = [_answer(part) for line in lines["RETURN"] for part in line.split(" | ")]
    code = "\n".join(line.partition("--")[0] for line in text.splitlines())
    return Header(
        name,
        _numbered(name, "KEYS", lines["KEYS"]),
        _numbered(name, "ARGV", lines["ARGV"]),
        {kind.lower(): _numbered(name, kind, lines[kind]) for kind in PACKED if lines[kind]},
        {answer.word: answer for answer in answers},
        "-- EACH event" in text.splitlines(),
        code,
    )


def script_names() -> list[str]:
    return sorted(path.stem for path in asset_dir("lua").glob("*.lua"))


def _answer(text: str) -> Answer:
    word, *fields = text.split(", ")
    word, *parts = word.split("+")
    assert re.fullmatch("[a-z_]+", word), f"{text!r} does not begin with a word"
    if parts:
        return Answer(word, (), len(word) + sum(STRING_PARTS[part] for part in parts))
    return Answer(word, tuple(fields))


def _numbered(name: str, kind: str, lines: list[str]) -> tuple[str, ...]:
    found = [_ITEM.fullmatch(part) for line in lines for part in line.split(", ")]
    assert all(found), f"{name}: {kind} is not `n name, …`"
    numbers = [int(match[1]) for match in found if match]
    assert numbers == list(range(1, len(numbers) + 1)), f"{name}: {kind} is not numbered from 1"
    return tuple(match[2] for match in found if match)


def assert_call_as_said(script: str, keys: Sequence[str], args: Sequence[Any]) -> None:
    """A call hands over exactly the keys and arguments of the header, keys in its order."""
    said = header(script)
    times = len(keys) // len(said.keys) if said.each else 1
    assert tuple(key.rpartition(":")[2] for key in keys) == said.keys * times, f"{script} is called with other keys"
    assert len({key.partition("}")[0] for key in keys}) == 1, f"{script} is called with keys of several nodes"
    if said.args[-1].endswith("…"):
        assert len(args) >= len(said.args) - 1, f"{script} is called with too few arguments"
    else:
        assert len(args) == len(said.args), f"{script} is called with {len(args)} arguments, not {len(said.args)}"
    for name, value in zip(said.args, args, strict=False):
        if name in said.packed:
            assert_packed_as_said(said.packed[name], value)
        elif name == "act…":
            for act in args[said.args.index(name) :]:
                verb = str(values_of(act)[0])
                assert_packed_as_said(header({"hold": "hold_seats", "release": "release_hold"}[verb]).packed[verb], act)
        if name.endswith("_ms") or name in ("batch", "offset") or name.startswith("max_"):
            assert isinstance(value, int), f"{script}: {name} is {value!r}"


def assert_packed_as_said(names: Sequence[str], packed: bytes) -> None:
    found = len(values_of(packed))
    if names[-1].endswith("…"):
        assert found >= len(names) - 1
    else:
        assert found == len(names)


def values_of(packed: bytes) -> list[int | str | bytes]:
    """msgpack values one after the other; text that is none is bytes."""
    values: list[int | str | bytes] = []
    at = 0
    while at < len(packed):
        head, at = packed[at], at + 1
        if head < 0x80:
            values.append(head)
        elif head in (0xCC, 0xCD, 0xCE, 0xCF):
            size = 1 << head - 0xCC
            values.append(int.from_bytes(packed[at : at + size], "big"))
            at += size
        elif 0xD0 <= head < 0xD4:
            size = 1 << head - 0xD0
            values.append(int.from_bytes(packed[at : at + size], "big", signed=True))
            at += size
        elif head >= 0xE0:
            values.append(head - 0x100)
        else:
            wide = {0xD9: 1, 0xDA: 2}.get(head, 0)
            assert wide or 0xA0 <= head < 0xC0, f"a value begins with {head:#x}"
            size = int.from_bytes(packed[at : at + wide], "big") if wide else head - 0xA0
            text = packed[at + wide : at + wide + size]
            at += wide + size
            try:
                values.append(text.decode())
            except UnicodeDecodeError:
                values.append(text)
    return values


def assert_answer_as_said(script: str, answer: Sequence[Any]) -> None:
    """An answer's first word is in the header, and as many values follow it as the header says."""
    if isinstance(answer, bytes):
        known = [said for said in header(script).answers.values() if answer.startswith(said.word.encode())]
        assert len(answer) in [said.length for said in known], f"{script} answered {answer!r}"
        return
    said = header(script).answers.get(answer[0].decode())
    if answer[0] == b"together":
        for own in answer[3:]:
            word = own if isinstance(own, bytes) else own[0]
            scripts = [header(one) for one in ("hold_seats", "release_hold") if word.decode() in header(one).answers]
            assert scripts or word in (b"later", b"failed"), f"{script} answered {own!r}"
            assert isinstance(own, bytes) == (word in (b"held", b"released"))
    assert said is not None, f"{script} answered {answer[0]!r}, which its header does not say"
    if said.open_ended:
        # What is before the list, and the list's last names in groups: `now_ms, hold_id, record…` may be now_ms alone.
        assert len(answer) > 1, f"{script} answered nothing after {said.word}"
    else:
        assert len(answer) - 1 == len(said.fields), f"{script} answered {len(answer) - 1} values after {said.word}"
