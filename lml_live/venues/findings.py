"""What a check has found: violations and warnings, each with where, which rule, what was found and what is expected."""

import re
import unicodedata
from typing import Final

import msgspec

from lml_live import limits
from lml_live.errors import InvalidInput, Violation

_CONTROL_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})
"""Control and format characters, surrogates and line separators: two labels that look alike would be two seats. And
what no character is yet: its normal form, and so a seat's id, would be another with a later Python."""
_FORMAT_ALLOWED: Final = frozenset("\u200c\u200d")
"""The joiners of Persian and Indic writing are format characters and change how a word is read."""
_BLANKS: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]")
"""Letters and marks that nothing is drawn of (Unicode's Default_Ignorable_Code_Point), but that count as printable."""


class Report(msgspec.Struct, frozen=True):
    """What was found. Each list holds the first `limits.VIOLATIONS_MAX`, and a line for what is left off; the counts
    count all."""

    violations: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()
    violation_count: int = 0
    warning_count: int = 0


class InvalidLayout(InvalidInput):
    """A layout that breaks rules, with everything that was found in it."""

    def __init__(self, report: Report) -> None:
        count = report.violation_count
        super().__init__(
            f"The layout breaks {count} rule{'' if count == 1 else 's'}.",
            errors=report.violations,
            warnings=report.warnings,
        )
        self.report = report


class Findings:
    """Collects findings up to the bound and goes on counting. Mutable: it lives inside one check."""

    def __init__(self, noun: str = "violations") -> None:
        self.violations: list[Violation] = []
        self.count = 0
        self._noun = noun

    def add(self, path: str, message: str) -> None:
        """Notes what is in the way of an import, which has no rules of ours to name."""
        self._note(Violation(path, message))

    def broken(self, rule: str, path: str, found: str, expected: str) -> None:
        """Notes one broken rule."""
        self._note(Violation(path, f"{found}; {expected}", rule, found, expected))

    def odd(self, rule: str, path: str, found: str, expected: str) -> None:
        """Notes what can be meant, but mostly is not."""
        self._note(Violation(path, found, rule, found, expected))

    def take(self, violation: Violation) -> None:
        """Notes what another check has found."""
        self._note(violation)

    def closed(self) -> tuple[Violation, ...]:
        """The findings, with one more that says how many were left off, where some were."""
        left_off = self.count - len(self.violations)
        if left_off:
            return (*self.violations, Violation("", f"{left_off} more {self._noun} are not listed"))
        return tuple(self.violations)

    def _note(self, violation: Violation) -> None:
        self.count += 1
        if len(self.violations) < limits.VIOLATIONS_MAX:
            self.violations.append(violation)


def shown(value: object) -> str:
    """A found value for a message: short, printable, whatever it is."""
    if isinstance(value, str):
        return ascii(value[:40]) + ("…" if len(value) > 40 else "") if unprintable(value) else _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a huge number"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "an object"
    return f"an array of {len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__


def unprintable(text: str) -> bool:
    """Whether a text holds what nobody can see or what turns the writing around."""
    text = text[: limits.LABEL_CHARS_MAX]  # Longer ones are refused for it, and looking at 10 MB takes a second.
    if _BLANKS.search(text):
        return True
    return not text.isprintable() and any(
        unicodedata.category(character) in _CONTROL_CATEGORIES and character not in _FORMAT_ALLOWED
        for character in text
    )


def _quoted(text: str) -> str:
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"
