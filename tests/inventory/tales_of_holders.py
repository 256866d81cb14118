"""Tales of what holders do: how much they may have, how long, where, and beside whom."""

from told import CAFE, FAIR, LENIENT, PLAIN, STRICT, Told, wish


def what_others_have(s: Told) -> None:
    anna = s.takes("anna", 0, 1, 4, a=2)
    for seats in ([1], [1, 2], [0, 2], [3, 4], [2, 3, 4, 5]):
        s.asks("ben", *seats, code="seat_taken")
    s.asks("ben", 2, a=2, b=2, code="area_full")
    s.look(0, "ben", own=False)
    ben = s.takes("ben", 2, 3, a=1, b=2)
    s.asks("cleo", a=1, code="area_full")
    s.adds(ben, 4, code="seat_taken")
    s.adds(ben, a=1, code="area_full")
    s.swaps(ben, 3, 4, code="seat_taken")
    s.swaps(ben, 3, a=4, code="area_full")
    s.swaps(ben, 2, 3, 5, a=2, b=1)
    s.everything_agrees()
    for number in (0, 1):
        s.add(number, "cleo", False, wish(7))
        s.said("hold_not_found")
        s.replace(number, "cleo", False, wish(7), None)
        s.said("hold_not_found")
    s.gives_back(ben, part=True)
    s.gives_back(anna, part=True)
    s.everything_agrees()
    s.adds(anna, 3, a=2)
    s.adds(anna, b=1)
    s.adds(anna, 0)
    s.swaps(ben, 7, 9, b=2)
    s.looks()
    s.gives_back(anna)
    s.gives_back(anna, code="hold_not_found")
    s.adds(anna, 1, code="hold_not_found")
    s.swaps(anna, 1, code="hold_not_found")
    s.puts_off(anna, "hold_not_found")
    s.pays(anna, code="hold_not_found")
    s.looks()
    s.takes("anna", 1, 3, 4, b=2)
    s.looks()


def as_much_as_one_may_have(s: Told) -> None:
    s.asks("anna", 0, 1, 2, 3, a=3, code="limit_exceeded")
    first = s.takes("anna", 0, 1, 2, 3, a=2)
    s.asks("anna", 5, code="limit_exceeded")
    ben = s.takes("ben", 5, b=1)
    s.asks("ben", 7, 8, 9, b=2, code="limit_exceeded")
    s.gives_back(ben)
    ben = s.takes("ben", 4, b=1)
    other = s.takes("ben", 7, 8, b=2)
    s.adds(other, 9, code="limit_exceeded")
    s.swaps(other, 7, 8, 9, b=2, code="limit_exceeded")
    s.swaps(other, 7, 9, 10, a=1)
    s.everything_agrees()
    s.gives_back(ben)
    s.adds(other, 8, 11)
    s.adds(other, 12, code="limit_exceeded")
    s.gives_back(first)
    mine = [s.takes("anna", seat) for seat in range(6)]
    s.asks("anna", 6, code="limit_exceeded")
    s.everything_agrees()
    for name in mine[1:3]:
        s.gives_back(name)
    s.looks()
    s.adds(mine[0], 2, 1)
    s.asks("anna", 6, code="limit_exceeded")


def time_runs_out(s: Told) -> None:
    anna = s.takes("anna", 0, a=1)
    s.wait(10_000)
    s.puts_off(anna)
    s.wait(40_000)
    s.puts_off(anna)
    s.wait(10_000)
    s.puts_off(anna, "limit_exceeded")
    s.everything_agrees()
    ben = s.takes("ben", 1)
    s.wait(90_000)
    s.wait(3_000)
    cleo = s.takes("cleo", 2, b=1)
    s.adds(anna, 3, code="hold_expired")
    s.swaps(anna, 3, code="hold_expired")
    s.puts_off(anna, "hold_expired")
    s.pays(anna, code="hold_expired")
    s.move(s.at(anna), wish(3), over_house=False)
    s.answered("hold_expired")
    s.looks()
    s.gives_back(anna)
    s.looks()
    s.wait(40_000)
    s.sweep(1, 0)
    s.looks()
    for name in (ben, anna):
        s.gives_back(name, code=s.ref.holds[name].ended)
    s.sweep(1, 110_000)
    s.looks()
    s.adds(cleo, 3, code="hold_expired")
    s.withdraw(s.at(cleo))
    s.answered("hold_expired")
    s.sweep(2, 320_000)
    s.looks()
    for name in (anna, ben, cleo):
        s.gives_back(name, code="hold_not_found")
    s.takes("ben", 0, 1, 2, a=3)


def what_is_marked_and_not_claimed(s: Told) -> None:
    """The sweep asks for it long before the hold would have expired, and again."""
    anna = s.takes("anna", 0)
    s.pays(anna, claim=False)
    for time_ms in (10_000, 40_000, 10_000, 40_000):
        s.wait(time_ms)
        s.sweep(3, 0)
    s.everything_agrees()


def for_the_last_time(s: Told) -> None:
    """Put off so late that the lifetime is nearer than another deadline."""
    anna = s.takes("anna", 0)
    s.wait(90_000)
    s.puts_off(anna)
    s.wait(90_000)
    s.puts_off(anna)
    s.everything_agrees()
    ben, cleo = s.takes("ben", 1), s.takes("cleo", 2)
    s.wait(60_000)
    s.puts_off(ben)
    s.wait(96_000)
    s.pays(ben, claim=False)
    s.settle(s.at(ben), "restore", right=True)
    s.everything_agrees()
    s.wait(3_000)
    s.puts_off(ben)
    s.everything_agrees()
    s.wait(40_000)
    s.puts_off(ben, "limit_exceeded")
    s.pays(ben)
    s.pays(ben)
    s.puts_off(ben, "hold_in_checkout")
    s.wait(60_000)
    s.settle(s.at(ben), "restore", right=True)
    s.everything_agrees()
    s.sweep(3, 0)
    s.everything_agrees()
    assert s.ref.holds[cleo].state == "gone"
    dora = s.takes("anna", 3)
    s.wait(20_000)
    s.pays(dora)
    s.settle(s.at(dora), "restore", right=True)
    s.everything_agrees()
    s.pays(dora)
    s.wait(212_000)
    s.settle(s.at(dora), "restore", right=True)
    s.wait(3_000)
    s.puts_off(dora, "limit_exceeded")


def the_bookings(s: Told) -> None:
    """Paid for, sold, given back, each told of its own booking, of another, and twice."""
    anna, ben = s.takes("anna", 0, 1, 4, a=2, b=1), s.takes("ben", 2, 3, a=2)
    s.pays(anna)
    for act in (s.adds, s.swaps):
        act(anna, 5, code="hold_in_checkout")
    s.gives_back(anna, code="hold_in_checkout")
    s.move(s.at(anna), wish(5), over_house=False)
    s.answered("hold_in_checkout")
    s.withdraw(s.at(anna))
    s.answered("hold_in_checkout")
    s.puts_off(anna, "hold_in_checkout")
    s.looks()
    for act_of in ("sell", "free", "restore"):
        s.settle(s.at(anna), act_of, right=False)
        s.settle(s.at(ben), act_of, right=True)
    s.give_part_back(anna, 2, 2, right=False)
    s.give_part_back(ben, 1, 1, right=True)
    s.give_part_back(anna, 2, 1, right=True)
    s.give_part_back(anna, 2, 1, right=True)
    s.everything_agrees()
    s.settle(s.at(anna), "sell", right=True)
    s.settle(s.at(anna), "sell", right=True)
    s.settle(s.at(anna), "restore", right=True)
    s.settle(s.at(anna), "free", right=False)
    s.looks()
    s.asks("cleo", 0, code="seat_taken")
    s.gives_back(anna, code="hold_not_found")
    s.adds(anna, 5, code="hold_not_found")
    s.withdraw(s.at(anna))
    s.answered("hold_not_found")
    s.close("ben", wish(5))
    s.everything_agrees()
    s.give_part_back(anna, 1, 1, right=True)
    s.everything_agrees()
    s.settle(s.at(anna), "free", right=True)
    s.settle(s.at(anna), "free", right=True)
    s.everything_agrees()
    cleo = s.takes("cleo", 5, b=1)
    s.pays(cleo, claim=False)
    s.wait(110_000)
    s.sweep(3, 320_000)
    s.everything_agrees()
    s.settle(s.at(cleo), "free", right=True)
    s.looks()
    s.sweep(3, 320_000)
    s.looks()


# --- Those who let their holds expire


def who_lets_holds_expire(s: Told) -> None:
    one = s.takes("anna", 0, 1, a=1)
    s.sweep(3, 110_000)
    s.everything_agrees()
    s.asks("anna", 1, 2, code="cooling_down")
    two = s.takes("anna", 2)
    s.sweep(3, 110_000)
    s.asks("anna", 3, code="cooling_down")
    s.asks("anna", a=1, code="cooling_down")
    s.takes("ben", 0)
    three, kept = "", ""
    s.wait(40_000)
    kept = s.takes("anna", 3)
    s.adds(kept, 2, code="cooling_down")
    s.adds(kept, 4)
    s.swaps(kept, 2, 3, code="cooling_down")
    s.swaps(kept, 5)
    three = s.takes("anna", 7)
    s.pays(kept)
    s.wait(110_000)
    s.settle(s.at(kept), "free", right=True)
    s.asks("anna", 10, code="cooling_down")
    s.wait(40_000)
    s.asks("anna", 10, code="cooling_down")
    s.wait(10_000)
    s.wait(10_000)
    s.takes("anna", 10)
    s.looks()
    for _ in range(4):
        s.sweep(1, 110_000)
    s.looks()
    s.sweep(1, 320_000)
    s.looks()
    s.takes("anna", 0)
    assert {one, two, three} < s.ref.holds.keys()


def who_waits_the_longest(s: Told) -> None:
    """Six losses at once, each a longer pause, and the longest that there is."""
    for seat in (0, 1, 2, 3, 4, 5):
        s.takes("anna", seat)
    s.sweep(3, 110_000)
    s.asks("anna", 7, code="cooling_down")
    s.wait(470_000)
    s.asks("anna", 7, code="cooling_down")
    s.wait(20_000)
    s.takes("anna", 7)
    s.looks()


def who_waits_as_long_as_anybody(s: Told) -> None:
    """A seventh loss, of a hold that he was handed over meanwhile."""
    for seat in (0, 1, 2, 3, 4, 5):
        s.takes("anna", seat)
    s.sweep(3, 110_000)
    s.wait(80_000)
    s.takes("ben", 9)
    s.hand_over("ben", "anna", known=False)
    s.sweep(3, 110_000)
    s.wait(590_000)
    s.asks("anna", 8, code="cooling_down")
    s.wait(20_000)
    s.takes("anna", 8)
    s.looks()


def what_a_long_pause_reminds_of(s: Told) -> None:
    """A loss is remembered while its pause lasts, though its hold could not have lived so long."""
    for seat in (0, 1, 2, 3, 4, 5):
        s.takes("anna", seat)
    s.sweep(3, 110_000)
    s.sweep(3, 350_000)
    s.takes("ben", 9)
    s.hand_over("ben", "anna", known=False)
    s.sweep(3, 110_000)
    s.wait(22_000)
    s.asks("anna", 8, code="cooling_down")
    s.wait(10_000)
    s.takes("anna", 8)


def what_was_lost_is_forgiven(s: Told) -> None:
    s.takes("anna", 0)
    s.sweep(3, 110_000)
    s.sweep(3, 320_000)
    s.everything_agrees()
    s.takes("anna", 1)
    s.sweep(3, 110_000)
    s.takes("anna", 2)
    s.sweep(3, 110_000)
    s.asks("anna", 3, code="cooling_down")
    s.wait(40_000)
    s.gives_back(s.takes("anna", 3))
    s.sweep(3, 320_000)
    s.sweep(3, 320_000)
    s.takes("anna", 0, 1, 2)
    s.sweep(3, 110_000)
    s.asks("anna", 0, code="cooling_down")
    s.takes("anna", 3)


# --- Addresses: anna and ben are in one café


def who_shares_an_address(s: Told) -> None:
    anna, ben = s.takes("anna", 0, 1), s.takes("ben", 2, 3)
    s.asks("anna", 4, 5, 7, 8, code="limit_exceeded")
    third = s.takes("anna", 4)
    s.asks("ben", 5, code="limit_exceeded")
    s.takes("cleo", 5)
    s.adds(third, 7, 8)
    s.adds(ben, 9, code="limit_exceeded")
    s.swaps(ben, 3, 9, 10, code="limit_exceeded")
    s.swaps(ben, 3, 9)
    s.swaps(ben, 9)
    s.adds(ben, 10)
    s.adds(ben, 3, code="limit_exceeded")
    s.forget_addresses()
    s.asks("ben", 3, code="limit_exceeded")
    s.gives_back(third, part=True)
    s.adds(ben, a=2)
    s.everything_agrees()
    s.pays(anna)
    s.asks("ben", 3, code="limit_exceeded")
    s.settle(s.at(anna), "sell", right=True)
    s.takes("ben", 2, 3)
    s.forget_addresses()
    s.asks("ben", 8, code="limit_exceeded")
    s.everything_agrees()


def who_comes_after_others(s: Told) -> None:
    """What has ended, or is sold, counts no more, and an address of which nothing is left is forgotten."""
    for seat in (0, 1, 2):
        s.gives_back(s.takes("anna", seat))
    s.forget_addresses()
    first = [s.takes("anna", seat) for seat in (0, 1, 2)]
    s.asks("ben", 3, code="limit_exceeded")
    s.forget_addresses()
    s.asks("ben", 3, code="limit_exceeded")
    s.gives_back(first[2])
    s.takes("ben", 3)
    s.gives_back(first[0])
    s.pays(first[1])
    s.forget_addresses()
    s.takes("ben", 0, 4, a=1)
    s.asks("ben", 5, code="limit_exceeded")
    s.sweep(3, 110_000)
    s.everything_agrees()
    s.forget_addresses()
    s.settle(s.at(first[1]), "free", right=True)
    s.forget_addresses()
    s.takes("ben", 5, 6, 7, 8, 9, 10)
    s.looks()
    for name in [*s.order]:
        if s.ref.holds[name].state == "active":
            s.gives_back(name)
    s.pays(s.takes("anna", 7))
    s.forget_addresses()
    for seat in (8, 9):
        s.takes("ben", seat)
    s.asks("ben", 10, code="limit_exceeded")


# --- Orphans


def who_is_left_alone(s: Told) -> None:
    s.asks("anna", 1, 2, code="orphan_seat")
    s.asks("anna", 3, 4, code="orphan_seat")
    s.asks("anna", 0, 2, code="orphan_seat")
    anna = s.takes("anna", 0, 1)
    s.asks("ben", 3, code="orphan_seat")
    s.asks("ben", 4, code="orphan_seat")
    s.adds(anna, 3, code="orphan_seat")
    s.swaps(anna, 1, 2, code="orphan_seat")
    s.swaps(anna, 2, 3)
    s.swaps(anna, 0, 1)
    s.adds(anna, 2, 3)
    s.asks("ben", 4, code="orphan_seat")
    s.asks("ben", 5, code="orphan_seat")
    ben = s.takes("ben", 4, 5)
    s.gives_back(ben, part=True)
    s.asks("ben", 9, code="orphan_seat")
    s.takes("ben", 8, 9, 10)
    s.takes("cleo", 6, 7, 11)
    s.gives_back(anna, part=True)
    s.asks("cleo", 1, code="orphan_seat")
    s.change_rules("off")
    s.takes("cleo", 1)
    s.everything_agrees()


def who_may_be_left_alone(s: Told) -> None:
    """Lenient: where nothing better is left, and not before."""
    anna = s.takes("anna", 2)
    s.asks("ben", 0, code="orphan_seat")
    s.asks("ben", 4, code="orphan_seat")
    s.asks("ben", 4, 5, code="orphan_seat")
    s.takes("ben", 0, 1)
    s.swaps(anna, 3, code="orphan_seat")
    s.swaps(anna, 4, code="orphan_seat")
    cleo = s.takes("cleo", 4, 5)
    s.gives_back(cleo)
    s.change_rules("strict")
    s.asks("cleo", 4, 5, code="orphan_seat")
    s.change_rules("lenient")
    s.takes("cleo", 8, 9)
    s.adds(anna, 4, code="orphan_seat")
    s.adds(anna, 3)
    s.takes("cleo", 5)
    s.everything_agrees()


def who_stood_alone_before(s: Told) -> None:
    """Lenient: who stands alone already is nobody's concern."""
    s.change_rules("off")
    anna = s.takes("anna", 1)
    s.change_rules("strict")
    s.swaps(anna, 1, 2, code="orphan_seat")
    s.change_rules("lenient")
    s.swaps(anna, 1, 2)
    s.swaps(anna, 2, 3)
    s.swaps(anna, 1, 2, 3, code="orphan_seat")
    s.swaps(anna, 3, 4, code="orphan_seat")
    s.everything_agrees()


TALES = [
    (what_others_have, PLAIN),
    (as_much_as_one_may_have, PLAIN),
    (time_runs_out, PLAIN),
    (what_is_marked_and_not_claimed, PLAIN),
    (for_the_last_time, PLAIN),
    (the_bookings, PLAIN),
    (who_lets_holds_expire, FAIR),
    (who_waits_the_longest, FAIR),
    (who_waits_as_long_as_anybody, FAIR),
    (what_a_long_pause_reminds_of, FAIR),
    (what_was_lost_is_forgiven, FAIR),
    (who_shares_an_address, CAFE),
    (who_comes_after_others, CAFE),
    (who_is_left_alone, STRICT),
    (who_may_be_left_alone, LENIENT),
    (who_stood_alone_before, LENIENT),
]
