"""The headers of lua/*.lua as data, and the check that a call and its answer are what a header says."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec import Struct

from lml_live.infra.assets import asset_dir, asset_text

_ITEM = re.compile(r"(\d+) ([a-z_]+(?:…)?)")


class Answer(Struct, frozen=True):
    """One alternative of RETURN: its word and the names of what follows."""

    word: str
    fields: tuple[str, ...]

    @property
    def open_ended(self) -> bool:
        return bool(self.fields) and self.fields[-1].endswith("…")


class Header(Struct, frozen=True):
    """What a script promises."""

    name: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    answers: dict[str, Answer]
    each: bool
    """Whether the keys come once for each of several events, one event's after the other's."""
    body: str
    """The script without its comments."""


@cache
def header(name: str) -> Header:
    text = asset_text("lua", f"{name}.lua")
    lines: dict[str, list[str]] = {"KEYS": [], "ARGV": [], "RETURN": []}
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
        {answer.word: answer for answer in answers},
        "-- EACH event" in text.splitlines(),
        code,
    )


def script_names() -> list[str]:
    return sorted(path.stem for path in asset_dir("lua").glob("*.lua"))


def _answer(text: str) -> Answer:
    word, *fields = text.split(", ")
    assert re.fullmatch("[a-z_]+", word), f"{text!r} does not begin with a word"
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
        if name.endswith("_ms") or name in ("batch", "offset") or name.startswith("max_"):
            assert isinstance(value, int), f"{script}: {name} is {value!r}"


def assert_answer_as_said(script: str, answer: Sequence[Any]) -> None:
    """An answer's first word is in the header, and as many values follow it as the header says."""
    said = header(script).answers.get(answer[0].decode())
    assert said is not None, f"{script} answered {answer[0]!r}, which its header does not say"
    if said.open_ended:
        # What is before the list, and the list's last names in groups: `now_ms, hold_id, record…` may be now_ms alone.
        assert len(answer) > 1, f"{script} answered nothing after {said.word}"
    else:
        assert len(answer) - 1 == len(said.fields), f"{script} answered {len(answer) - 1} values after {said.word}"
