"""Tales over both evenings of a season: as `told`, with the acts of `season`."""

from collections.abc import Callable

from inventory_house import Worker
from reference import SeatsAndPlaces
from season import Evening, Season
from told import CAFE, FAIR, PLAIN, STRICT, wish

from lml_live.inventory.groups import GroupChanged, GroupRefusal


class ToldSeason(Season):
    """The season, acted by a tale."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[dict[int, str]] = []

    def open(self, **rules: object) -> None:  # type: ignore[override]
        super().open(**rules)  # type: ignore[arg-type]
        for evening in self.evenings:
            evening.ask_for_lost = lambda _: None  # type: ignore[method-assign]

    def judge(self, answer: GroupChanged | GroupRefusal, expected: object) -> GroupChanged | None:
        self.answers.append({at: code for at, code in expected.items() if code})  # type: ignore[attr-defined]
        return super().judge(answer, expected)  # type: ignore[arg-type]

    def said(self, *codes: str) -> None:
        """What each evening answered to the last act, '' where it would have granted it."""
        assert self.answers[-1] == {at: code for at, code in enumerate(codes) if code}, self.answers

    def takes(self, who: str, first: SeatsAndPlaces | None, second: SeatsAndPlaces | None = None) -> list[str]:
        """Holds that are granted; answers their ids."""
        before = [len(evening.order) for evening in self.evenings]
        self.hold_group(who, wished(first, second))
        made = [evening.order[n:] for evening, n in zip(self.evenings, before, strict=True)]
        assert any(made), self.answers
        return [name for names in made for name in names]

    def asks(self, who: str, first: SeatsAndPlaces | None, second: SeatsAndPlaces | None, *codes: str) -> None:
        self.hold_group(who, wished(first, second))
        self.said(*codes)

    def pick(self, chosen: object, holder: str, own: bool) -> tuple[str, dict[int, str]]:
        """A tale names the holds themselves, and who acts on them."""
        assert isinstance(chosen, list)
        found = {self.evening_of(name): name for name in chosen}
        return holder or self.held(*next(iter(found.items()))).holder, found

    def evening_of(self, name: str) -> int:
        [at] = [at for at, evening in enumerate(self.evenings) if name in evening.order]
        return at

    def moves(
        self, names: list[str], first: SeatsAndPlaces | None, second: SeatsAndPlaces | None, who: str = ""
    ) -> None:
        self.move_group(names, who, True, wished(first, second))  # type: ignore[arg-type]

    def puts_off(self, *names: str, who: str = "") -> None:
        self.extend_group(list(names), who, True)  # type: ignore[arg-type]

    def gives_back(self, *names: str, who: str = "") -> None:
        self.release_group(list(names), who, True)  # type: ignore[arg-type]

    def alone(self, name: str, act: Callable[[Evening, int], object]) -> None:
        """An act on a hold of one evening."""
        evening = self.evenings[self.evening_of(name)]
        act(evening, evening.order[::-1].index(name))

    def falls_behind(self, at: int) -> None:
        """From here on a worker acts that has not heard that another one has adopted an evening meanwhile."""
        house, late = self.house, Worker(self.house.pipe, self.house.pool)
        late.book.skew_ms = house.book.skew_ms
        for evening in self.evenings:
            self.run(late.book.sale(evening.event))
        self.adopted.add(at)
        self.changes = [change for change in self.changes if at not in change[1]]
        self.evenings[at].adopt("another")
        house.book, house.holds, house.groups, house.channels = late.book, late.holds, late.groups, late.channels

    def pays(self, name: str) -> None:
        self.alone(name, lambda evening, number: evening.checkout(number, True, part=False))


def wished(first: SeatsAndPlaces | None, second: SeatsAndPlaces | None) -> dict[int, SeatsAndPlaces]:
    return {at: one for at, one in enumerate((first, second)) if one is not None}


Tale = Callable[[ToldSeason], None]


def both_or_none(s: ToldSeason) -> None:
    anna = s.takes("anna", wish(0, 1, a=2), wish(2, 3, b=1))
    s.asks("ben", wish(1), wish(2), "seat_taken", "seat_taken")
    s.asks("ben", wish(2, a=4), wish(0, a=1), "area_full", "")
    s.asks("ben", wish(2), wish(0, a=5), "", "area_full")
    s.asks("ben", wish(2, 3, 4, 5, 7), wish(0, 1, 4, a=4), "", "limit_exceeded")
    s.everything_agrees()
    ben = s.takes("ben", wish(2, 3, a=1), wish(0, b=4))
    s.moves(anna, wish(0, 2), wish(2), who="ben")
    s.said("hold_not_found", "hold_not_found")
    s.moves(anna, wish(0, 2), wish(2))
    s.said("seat_taken", "")
    s.moves(anna, wish(0, a=5), wish(2))
    s.said("area_full", "")
    s.moves(anna, wish(0, 4, a=4), wish(2, 4, b=1))
    s.everything_agrees()
    s.moves(anna, wish(0, 1, 4, a=4), wish(2, 4))
    s.said("limit_exceeded", "")
    s.gives_back(*anna, who="ben")
    s.said("hold_not_found", "hold_not_found")
    s.puts_off(*anna, who="ben")
    s.said("hold_not_found", "hold_not_found")
    s.pays(ben[0])
    for act in (s.gives_back, s.puts_off):
        act(*ben)
        s.said("hold_in_checkout", "")
    s.moves(ben, None, wish(7))
    s.said("hold_in_checkout", "")
    s.everything_agrees()
    s.moves(anna[:1], None, wish(7))
    s.everything_agrees()
    s.moves(anna[1:], wish(0), wish(4, 7))
    s.everything_agrees()
    s.gives_back(*anna[1:])
    s.gives_back(*anna)
    s.said("hold_not_found", "hold_not_found")
    for number in range(len(s.requests)):
        s.ask_again(number, another=False)
    s.everything_agrees()


def so_many_holds(s: ToldSeason) -> None:
    mine = [s.takes("anna", wish(seat), None) for seat in (0, 1, 2, 3, 4, 5)]
    s.evenings[1].hold("anna", wish(0))
    s.gives_back(*mine[2])
    s.gives_back(*mine[3])
    s.everything_agrees()
    s.moves(mine[0], wish(2), wish(1))
    s.moves([*mine[0], s.evenings[1].order[-1]], wish(3), wish(1, 2))
    s.everything_agrees()
    for evening in s.evenings:
        for seat in (7, 8, 9, 10, 11):
            evening.hold_for_customer("anna", wish(seat), over_house=False)
        for seat in (4, 5, 3, 0):
            evening.hold_for_customer("anna", wish(seat), over_house=False)
    s.everything_agrees()


def two_evenings_of_time(s: ToldSeason) -> None:
    anna = s.takes("anna", wish(0), wish(0, a=1))
    s.puts_off(*anna)
    s.wait(40_000)
    s.puts_off(*anna[:1])
    s.puts_off(*anna)
    s.said("limit_exceeded", "")
    s.wait(20_000)
    later = s.takes("ben", wish(1), None)
    s.wait(20_000)
    s.evenings[1].hold("ben", wish(1))
    other = s.evenings[1].order[-1]
    s.puts_off(*later)
    s.everything_agrees()
    s.moves([*later, other], None, wish(2))
    s.moves(anna[:1], None, wish(3))
    s.everything_agrees()
    s.puts_off(s.evenings[1].order[-1])
    s.said("", "limit_exceeded")
    s.wait(90_000)
    s.puts_off(*anna[1:])
    s.moves(anna[1:], None, wish(4))
    s.said("", "hold_expired")
    s.gives_back(*anna[1:])
    for evening in s.evenings:
        evening.sweep(3, 110_000)
    s.gives_back(other)
    s.said("", s.evenings[1].ref.holds[other].ended)
    for number in range(len(s.requests)):
        s.ask_again(number, another=False)
    s.time_passes(320_000)
    s.everything_agrees()


def late_in_its_life(s: ToldSeason) -> None:
    """A hold that is moved elsewhere wins nothing, and is put off no further than it lives."""
    anna = s.takes("anna", wish(0), None)
    s.wait(90_000)
    s.pays(anna[0])
    s.wait(95_000)
    s.alone(anna[0], lambda evening, number: evening.settle(number, "restore", right=True))
    s.moves(anna, None, wish(0))
    s.everything_agrees()
    moved = s.evenings[1].order[-1]
    s.puts_off(moved)
    s.everything_agrees()
    ben = s.takes("ben", wish(1), wish(1))
    s.moves([ben[0], ben[1]], wish(2), wish(2))
    s.pays(ben[0])
    s.wait(230_000)
    s.alone(ben[0], lambda evening, number: evening.settle(number, "restore", right=True))
    s.puts_off(ben[0])
    s.said("limit_exceeded")
    s.everything_agrees()


def who_loses_in_one_evening(s: ToldSeason) -> None:
    s.takes("anna", wish(0), None)
    other = s.takes("anna", None, wish(0))
    for evening in s.evenings[:1]:
        evening.sweep(3, 110_000)
    s.asks("anna", wish(0), wish(1), "cooling_down", "")
    s.takes("anna", wish(1), wish(1))
    s.evenings[0].sweep(3, 110_000)
    s.evenings[1].sweep(3, 0)
    s.asks("anna", wish(3), None, "cooling_down")
    s.asks("anna", wish(3), wish(3), "cooling_down", "cooling_down")
    ben = s.takes("ben", wish(0), None)
    s.evenings[0].hand_over("ben", "anna", known=False)
    s.moves(ben, wish(2, 0), None)
    s.moves(ben, wish(0, 1), None)
    s.said("cooling_down")
    s.moves(ben, wish(1), None)
    s.said("cooling_down")
    s.wait(40_000)
    s.takes("anna", wish(3), wish(3))
    s.moves(s.evenings[0].order[-1:], wish(4), wish(4))
    s.everything_agrees()
    assert other


def from_one_address(s: ToldSeason) -> None:
    anna = s.takes("anna", wish(0, 1), wish(0))
    s.takes("ben", wish(2, 3), wish(1, 2, a=1))
    s.asks("anna", wish(4, 5, 7, 8), wish(3), "limit_exceeded", "")
    third = s.takes("anna", wish(4), wish(3))
    s.asks("ben", wish(5), wish(4), "limit_exceeded", "limit_exceeded")
    s.moves(third, wish(5, 7, 8), wish(4))
    s.said()
    s.moves(anna, wish(0, 1, 2), wish(0))
    s.said("seat_taken")
    s.moves(anna, wish(0, 1, 9), wish(0))
    s.said("limit_exceeded")
    for evening in s.evenings:
        evening.change_sale(address_seats=4)
        evening.ref.address_seats = 4
    s.moves(anna, wish(0), wish(0))
    s.said()
    s.everything_agrees()


def beside_whom(s: ToldSeason) -> None:
    s.change_rules(1, "lenient")
    s.asks("anna", wish(1, 2), wish(0, 1), "orphan_seat", "")
    s.asks("anna", wish(0, 1), wish(1), "", "orphan_seat")
    anna = s.takes("anna", wish(0, 1), wish(2))
    s.moves(anna, wish(1, 2), wish(2, 3))
    s.said("orphan_seat", "")
    s.moves(anna, wish(0, 1, 2), wish(2, 3))
    s.said()
    s.change_rules(1, "off")
    s.moves(anna, wish(0, 1), wish(1))
    s.change_rules(1, "lenient")
    s.moves(anna, wish(0, 1), wish(1, 2))
    s.said()
    s.everything_agrees()


def what_channels_have(s: ToldSeason) -> None:
    for evening in s.evenings:
        evening.assign("agency", [0, 1, 2], 3)
        evening.assign("web", [3, 4], 1)
    s.asks("anna", wish(0), wish(3), "seat_taken", "")
    s.asks("anna", wish(3, a=3), wish(4), "area_full", "")
    s.asks("cleo", wish(3), wish(0, a=5), "seat_taken", "area_full")
    cleo = s.takes("cleo", wish(0, a=4), wish(1, a=1))
    s.everything_agrees()
    s.moves(cleo, wish(1, 2, a=2), wish(2, b=2))
    s.moves(cleo, None, wish(0))
    s.everything_agrees()
    s.gives_back(*cleo[1:])
    s.everything_agrees()


def redis_forgets_an_evening(s: ToldSeason) -> None:
    """A request is found by the ids that it made, where an adopt has forgotten its key."""
    anna = s.takes("anna", wish(0), wish(0))
    s.takes("ben", wish(1), None)
    s.adopt(1, "another")
    s.ask_again(1, another=False)
    s.adopt(0, "another")
    s.ask_again(1, another=False)
    s.evenings[0].hand_over("anna", "cleo", known=False)
    s.ask_again(1, another=False)
    s.evenings[1].hand_over("anna", "cleo", known=False)
    s.ask_again(1, another=False)
    s.everything_agrees()
    s.adopt(0, "lost")
    s.gives_back(*anna, who="cleo")
    s.said("hold_not_found")
    s.moves(anna, wish(3), wish(3), who="cleo")
    s.said("hold_not_found")
    s.takes("anna", wish(0), wish(2))
    s.pause(0, "ben", wished(wish(3), wish(3)), 0)
    s.pause(1, "ben", wished(None, wish(3)), 0)
    s.everything_agrees()


def what_redis_forgot_is_not_taken_again(s: ToldSeason) -> None:
    """A hold that ended after an adopt had forgotten its key was made anew by whoever asked again."""
    s.takes("anna", wish(2, 3, 8), None)
    s.adopt(0, "another")
    s.moves([s.evenings[0].order[-1]], None, wish(1))
    s.ask_again(0, another=False)
    s.everything_agrees()
    ben = s.takes("ben", wish(0), wish(0))
    s.moves(ben, wish(4), wish(4))
    for at in (0, 1):
        s.adopt(at, "another")
    s.gives_back(ben[1])
    s.ask_again(0, another=False)
    s.gives_back(ben[0])
    s.ask_again(0, another=False)
    s.everything_agrees()
    cleo = s.takes("cleo", wish(0), None)
    s.moves(cleo, wish(1), wish(5))
    holder, named, ask = s.changes[-1]
    for at in (0, 1):
        s.adopt(at, "another")
    for name in (s.evenings[1].order[-1], cleo[0]):
        s.gives_back(name)
        known = {at: s.held(at, one) for at, one in named.items()}
        s.is_known(s.run(ask(False)), named, known, holder, another=False)
    s.everything_agrees()
    s.takes("anna", wish(2), None)
    s.adopt(0, "another")
    s.evenings[0].sweep(3, 110_000)
    s.ask_again(0, another=False)
    s.everything_agrees()


def who_has_not_heard_of_an_evening(s: ToldSeason) -> None:
    s.falls_behind(0)
    anna = s.takes("anna", wish(0), wish(0))
    for at, act in enumerate((s.puts_off, lambda *names: s.moves([*names], wish(1), wish(2)), s.gives_back)):
        s.wait(3_000)
        s.falls_behind(at % 2)
        act(*anna)
        s.said()
        s.everything_agrees()


TALES = [
    (both_or_none, PLAIN),
    (so_many_holds, PLAIN),
    (two_evenings_of_time, PLAIN),
    (late_in_its_life, PLAIN),
    (who_loses_in_one_evening, FAIR),
    (from_one_address, CAFE),
    (beside_whom, STRICT),
    (what_channels_have, PLAIN),
    (redis_forgets_an_evening, PLAIN),
    (what_redis_forgot_is_not_taken_again, PLAIN),
    (who_has_not_heard_of_an_evening, PLAIN),
]
