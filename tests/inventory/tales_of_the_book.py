"""Tales of the book itself: of acts that are decided together, and of Redis lost or gone back."""

from collections.abc import Callable

from told import PLAIN, Told, wish


def what_is_known_of_an_event(s: Told) -> None:
    """Of holds, bookings, blocks and channels: what PostgreSQL knows is there again, and of the rest what fits."""
    s.takes("anna", 0, 1, a=1)
    ben, sold = s.takes("ben", 2, b=1), s.takes("cleo", 3, a=1)
    unknown = s.takes("anna", 4)
    s.pays(ben)
    s.pays(sold)
    s.settle(s.at(sold), "sell", right=True)
    s.pays(unknown, claim=False)
    s.block([5], 1, back=False, kill=False)
    s.block([7], 1, back=False, kill=True)
    s.hold_for_customer("ben", wish(8), over_house=False)
    s.assign("agency", [9, 10], 1)
    s.everything_agrees()
    s.compare()
    s.save()
    for how in ("another", "older"):
        s.adopt(how)
        s.looks()
        s.compare()
    s.asks("anna", 9, code="seat_taken")
    more = s.takes("ben", 11, 12)
    s.sell_at_once("anna", wish(6), False, False)
    s.adopt("another")
    s.looks()
    s.gives_back(more)
    s.adopt("older")
    s.looks()
    s.adopt("lost")
    s.looks()
    s.settle(s.at(ben), "sell", right=True)
    s.compare()
    s.settle(s.at(sold), "free", right=True)
    s.sweep(3, 320_000)
    s.looks()


def what_is_lost_of_a_book(s: Told) -> None:
    s.takes("anna", 0, 1, a=1)
    for part in ("seats", "areas", "log", "book"):
        s.hold("ben", wish(2 + len(part)))
        for checked in (True, False):
            s.damage(part, checked)
            s.everything_agrees()
    s.looks()


def what_is_nobodys(s: Told) -> None:
    """Deadlines of what is not there, or is sold, as a Redis that went back may have them."""
    anna = s.takes("anna", 0)
    s.pays(anna)
    s.settle(s.at(anna), "sell", right=True)
    s.nothing_is_done_to("1-nobody")
    for name in ("1-nobody", anna):
        s.set_deadline(name)
        s.sweep(3, 0)
        s.everything_agrees()
    for name in ("ben", "cleo", "ben"):
        s.takes(name, 3 + len(s.order))
    s.set_deadline("1-nobody")
    s.close("ben", wish(1))
    s.sweep(3, 0)
    s.everything_agrees()


def who_has_not_heard(s: Told) -> None:
    """A worker that knows an older epoch changes nothing by it: it hears, and then it acts."""
    anna, ben = s.takes("anna", 0, 1, a=1), s.takes("ben", 2, 3, a=2)
    acts: list[Callable[[], object]] = [
        lambda: s.look(0, "ben", own=True),
        lambda: s.adds(anna, 4),
        lambda: s.swaps(anna, 0, 4),
        lambda: s.puts_off(anna),
        lambda: s.gives_back(anna, part=True),
        lambda: s.takes("anna", 7),
        lambda: s.decide_together([("cleo", wish(8)), ("cleo", wish(9))]),
        lambda: s.pays(ben),
        lambda: s.give_part_back(ben, 1, 2, right=True),
        lambda: s.settle(s.at(ben), "restore", right=True),
        lambda: s.pays(ben),
        lambda: s.settle(s.at(ben), "sell", right=True),
        lambda: s.settle(s.at(ben), "free", right=True),
        lambda: s.block([0, 10], 1, back=False, kill=False),
        lambda: s.block([0, 10], 1, back=True, kill=False),
        lambda: s.assign("agency", [10], 1),
        lambda: s.open_channel("agency"),
        lambda: s.hold_for_customer("cleo", wish(10), over_house=False),
        lambda: s.move(s.at(s.order[-1]), wish(5), over_house=False),
        lambda: s.withdraw(s.at(s.order[-1])),
        lambda: s.sell_at_once("cleo", wish(10), False, True),
        lambda: s.hand_over("anna", "cleo", known=False),
        lambda: s.change_rules("off"),
        lambda: s.sweep(3, 110_000),
        s.forget_addresses,
    ]
    for act in acts:
        s.falls_behind()
        s.wait(3_000)
        act()
        s.everything_agrees()
    s.takes("anna", 12)
    s.falls_behind()
    s.close("ben", wish(3))


# --- Together


def who_asks_at_once(s: Told) -> None:
    s.decide_together([("anna", wish(a=6)), ("ben", wish(9))])
    s.gives_back(s.order[-1])
    parted = s.takes("ben", 7, 8, 9), s.takes("anna", 1, 2, 3)
    s.decide_together([(0, True), (1, True)])
    s.everything_agrees()
    for name in parted:
        s.gives_back(name)
    s.decide_together([("anna", wish(0, 1, a=2)), ("ben", wish(1, 2)), ("ben", wish(2, b=2)), ("cleo", wish(a=2))])
    s.everything_agrees()
    s.decide_together([(0, True), (1, False), ("cleo", wish(0, a=1)), ("ben", wish(1, 3, 4, 5, 7)), ("ben", wish(3))])
    s.everything_agrees()
    s.decide_together([("anna", wish(8)), ("anna", wish(9, 10, a=1)), ("anna", wish(5)), ("anna", wish(11, 12))])
    s.everything_agrees()
    s.looks()
    s.decide_together([(0, False), (1, True), (2, True), (2, True), (0, True), ("anna", wish(9))])
    s.looks()
    s.asks("cleo", 9, code="seat_taken")
    s.assign("agency", [2, 5], 1)
    s.decide_together([("cleo", wish(5, a=1)), ("anna", wish(5)), ("ben", wish(2, b=1)), ("ben", wish(b=1))])
    s.looks()
    s.decide_together([(number, False) for number in range(6)])
    s.looks()
    s.change_rules("strict")
    s.decide_together([("cleo", wish(0, 1)), ("anna", wish(3)), ("ben", wish(3)), ("ben", wish(3, 4, 5))])
    s.looks()


def sixteen_ask_at_once(s: Told) -> None:
    """As many as need another head in the log's entry."""
    wishes = [*(wish(seat) for seat in range(13)), *(wish(a=1) for _ in range(3))]
    s.decide_together([(("anna", "ben", "cleo")[n % 3], one) for n, one in enumerate(wishes)])
    s.said(*(None for _ in wishes))
    s.everything_agrees()


def who_asks_at_once_from_one_address(s: Told) -> None:
    s.takes("anna", 0)
    s.sweep(3, 110_000)
    s.decide_together(
        [("anna", wish(0)), ("anna", wish(1, 2)), ("ben", wish(0, 3)), ("ben", wish(4)), ("ben", wish(5))]
    )
    s.everything_agrees()
    s.decide_together([(0, False), ("ben", wish(5)), ("anna", wish(7)), (1, True), ("anna", wish(8))])
    s.everything_agrees()
    s.decide_together([("cleo", wish(a=1)), ("cleo", wish(7))])
    s.sweep(3, 110_000)
    s.decide_together([("anna", wish(9)), ("ben", wish(9)), ("cleo", wish(9)), ("ben", wish(10))])
    s.wait(40_000)
    s.decide_together([("anna", wish(9)), ("ben", wish(9)), ("cleo", wish(9)), ("ben", wish(10))])
    s.looks()


TALES = [
    (what_is_known_of_an_event, PLAIN),
    (what_is_lost_of_a_book, PLAIN),
    (what_is_nobodys, PLAIN),
    (who_has_not_heard, {"orphans": "off", "budget": False, "addresses": True}),
    (who_asks_at_once, PLAIN),
    (sixteen_ask_at_once, PLAIN),
    (who_asks_at_once_from_one_address, {"orphans": "off", "budget": True, "addresses": True}),
]
