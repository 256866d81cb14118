"""The scripts with one thing of them broken: a guard taken away, a line cut, a bound moved by one.

`break_scripts` asks the models whether they see it.
"""

import re
from collections.abc import Iterator
from functools import cache

from msgspec import Struct

from lml_live.infra.assets import asset_dir, asset_text


class Mutant(Struct, frozen=True):
    """One line of a file of lua/, and what stands there instead."""

    file: str
    line: int
    """Counted from 1."""
    old: str
    new: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line} {self.old.strip()} → {self.new.strip() or '(cut)'}"

    def text(self) -> str:
        """The whole file with that line broken."""
        lines = lines_of(self.file)
        return "\n".join([*lines[: self.line - 1], self.new, *lines[self.line :]])


@cache
def lines_of(file: str) -> list[str]:
    return asset_text("lua", *file.split("/")).split("\n")


CONDITION = re.compile(r"\b(?:if|elseif) (.+?) then\b")
BOUND = re.compile(r"(\S+) (<=|>=|<|>) (\S+)")
MOVED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
LEAST = re.compile(r"\bmath\.(min|max)\(")
STATEMENT = re.compile(r"^(?!(local|return|if|else|elseif|for|while|end|function|break)\b)[\w.\[\], #+*':/-]+( = |\()")


def broken(file: str) -> Iterator[Mutant]:
    """All mutants of a file."""
    for number, line in enumerate(lines_of(file), 1):
        code = line.split(" --")[0]
        if not code.lstrip().startswith("--"):
            yield from (Mutant(file, number, line, new) for new in dict.fromkeys(_broken(code)))


def _broken(code: str) -> Iterator[str]:
    if found := CONDITION.search(code):
        before, condition, after = code[: found.start(1)], found[1], code[found.end(1) :]
        yield f"{before}false{after}"
        if "return" not in after:
            yield f"{before}true{after}"
        for part in re.finditer(r" (and|or) ", condition):
            yield before + condition[: part.start()] + after
            yield before + condition[part.end() :] + after
    for found in BOUND.finditer(code):
        # Nobody can hit the very millisecond of a moment.
        if not {"now", "(now"} & {found[1], found[3]}:
            yield code[: found.start(2)] + MOVED[found[2]] + code[found.end(2) :]
    for found in LEAST.finditer(code):
        yield f"{code[: found.start(1)]}{'max' if found[1] == 'min' else 'min'}{code[found.end(1) :]}"
    if STATEMENT.match(code.strip()) and all(code.count(a) == code.count(b) for a, b in ("()", "{}")):
        yield ""


FILES = sorted(path.relative_to(asset_dir("lua")).as_posix() for path in asset_dir("lua").rglob("*.lua"))
