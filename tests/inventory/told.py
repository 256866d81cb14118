"""Stories that are told instead of drawn: each takes its event where chance seldom goes, to the edge of a rule.

They are acts of the same model (`story_house`), judged by the same reference; `tales_of_holders`, `tales_of_the_house`,
`tales_of_the_book` and `tales_of_a_season` have them. `break_scripts` breaks the scripts, line by line: what no tale
sees there wants one.
"""

from collections.abc import Callable

from inventory_house import Worker
from reference import SeatsAndPlaces
from story_house import HouseRules

from lml_live.inventory.returns import Returns
from lml_live.inventory.staff_holds import StaffHolds


class Told(HouseRules):
    """The model, acted by a tale."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[str | None] = []

    def judge(self, answer: object, expected: str | None) -> bool:
        self.answers.append(expected)
        return super().judge(answer, expected)  # type: ignore[arg-type]

    def falls_behind(self, how: str = "another") -> None:
        """From here on a worker acts that has not heard that another one has adopted the event meanwhile."""
        late = Worker(self.house.pipe, self.house.pool)
        late.book.skew_ms = self.house.book.skew_ms
        self.run(late.book.sale(self.event))
        self.adopt(how)
        house = self.house
        house.book, house.holds, house.groups, house.channels = late.book, late.holds, late.groups, late.channels
        self.staff = StaffHolds(late.book)

    def set_deadline(self, name: str) -> None:
        """A deadline that has passed, whatever it is of."""
        sale = self.run(self.house.book.sale(self.event))
        self.run(self.call("ZADD", sale.key("deadlines"), 1, name))

    async def call(self, *parts: str | int) -> object:
        return await self.house.pipe.call(*parts)

    def nothing_is_done_to(self, name: str) -> None:
        """What is told of a booking whose hold is long forgotten."""
        holds, what = self.house.holds, (self.event, name, "b")
        for work in (holds.sell_hold(*what), holds.restore_hold(*what), holds.free_booking(*what, "expired")):
            assert self.run(work) is None
        assert self.run(self.staff.undo_taking(*what, [])) is None
        assert not self.run(Returns(self.house.book).keep_places(*what, [], []))

    def ask_for_lost(self, holder: str) -> None:
        """A tale asks for what it wants."""

    def said(self, *codes: str) -> None:
        """What the last acts were answered, so that a tale which no longer goes where it should is seen."""
        assert self.answers[-len(codes) :] == [*codes], self.answers

    def takes(self, who: str, *seats: int, a: int = 0, b: int = 0) -> str:
        """A hold that is granted; answers its id."""
        before = len(self.order)
        self.hold(who, wish(*seats, a=a, b=b))
        assert len(self.order) == before + 1, self.answers
        return self.order[-1]

    def asks(self, who: str, *seats: int, a: int = 0, b: int = 0, code: str) -> None:
        """A hold that is refused."""
        self.hold(who, wish(*seats, a=a, b=b))
        self.said(code)

    def adds(self, name: str, *seats: int, a: int = 0, b: int = 0, code: str = "") -> None:
        self.add(self.at(name), "anna", True, wish(*seats, a=a, b=b))
        self.answered(code)

    def swaps(self, name: str, *seats: int, a: int = 0, b: int = 0, code: str = "") -> None:
        self.replace(self.at(name), "anna", True, wish(*seats, a=a, b=b), None)
        self.answered(code)

    def gives_back(self, name: str, *, part: bool = False, code: str = "") -> None:
        self.release(self.at(name), part)
        self.answered(code)

    def puts_off(self, name: str, code: str = "") -> None:
        before = len(self.answers)
        self.extend(self.at(name))
        assert len(self.answers) > before, "too soon to tell"
        self.answered(code)

    def pays(self, name: str, *, claim: bool = True, code: str = "") -> None:
        self.checkout(self.at(name), claim, part=False)
        self.answered(code)

    def answered(self, code: str) -> None:
        assert self.answers[-1] == (code or None), self.answers

    def looks(self) -> None:
        """Everybody looks at each hold that there ever was."""
        for number in range(len(self.order)):
            for who in ("anna", "ben"):
                self.look(number, who, own=False)
        for number in range(len(self.requests)):
            if number < len(self.requests):
                self.ask_again(number, another=False)
        self.everything_agrees()


def wish(*seats: int, a: int = 0, b: int = 0) -> SeatsAndPlaces:
    return sorted(seats), {kind: n for kind, n in (("a", a), ("b", b)) if n}


Tale = Callable[[Told], None]
PLAIN = {"orphans": "off", "budget": False, "addresses": False}
FAIR = {"orphans": "off", "budget": True, "addresses": False}
CAFE = {"orphans": "off", "budget": False, "addresses": True}
"""Anna and Ben are in one café."""
STRICT = {"orphans": "strict", "budget": False, "addresses": False}
LENIENT = {"orphans": "lenient", "budget": False, "addresses": False}


def tell(machine: type[Told], tale: Tale, rules: dict[str, object]) -> None:
    story = machine()
    try:
        story.open(**rules)  # type: ignore[arg-type]
        tale(story)
        story.everything_agrees()
    finally:
        story.teardown()
