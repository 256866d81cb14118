"""Tales of staff and of signing in."""

from told import FAIR, PLAIN, Told, wish

from lml_live.inventory.staff_holds import Undone


def losses_go_over(s: Told) -> None:
    s.takes("anna", 0)
    s.sweep(3, 110_000)
    s.takes("ben", 1)
    s.sweep(3, 110_000)
    s.hand_over("anna", "ben", known=False)
    s.asks("ben", 3, code="cooling_down")
    s.takes("anna", 3)
    s.asks("anna", 0, code="cooling_down")
    s.wait(40_000)
    s.asks("ben", 0, code="cooling_down")
    s.asks("ben", 1, code="cooling_down")
    ben = s.takes("ben", 4)
    s.hand_over("ben", "cleo", known=False)
    s.gives_back(ben, code="hold_not_found") if s.ref.holds[ben].state == "gone" else s.gives_back(ben)
    s.asks("cleo", 7, code="cooling_down")
    s.asks("cleo", 0, code="cooling_down")
    s.everything_agrees()
    s.wait(110_000)
    s.takes("cleo", 7)
    s.sweep(3, 110_000)
    s.asks("cleo", 8, code="cooling_down")
    for _ in range(6):
        s.sweep(3, 320_000)
        s.everything_agrees()
    cleo = s.takes("cleo", 0)
    s.sweep(3, 110_000)
    s.takes("cleo", 8)
    s.looks()
    assert cleo


def holds_go_over(s: Told) -> None:
    """Each hold whose place is there for it: those paid for first, whatever the limit is."""
    paid, plain = s.takes("anna", 0, a=1), s.takes("anna", 1, 2, b=1)
    s.takes("anna", 3)
    s.takes("ben", 7, 8, a=1)
    s.pays(paid)
    s.hand_over("anna", "ben", known=False)
    s.looks()
    s.hand_over("anna", "ben", known=True)
    s.looks()
    s.hand_over("anna", "ben", known=True)
    s.hand_over("cleo", "ben", known=True)
    s.looks()
    s.gives_back(plain)
    s.wait(97_000)
    s.takes("cleo", 9)
    s.wait(6_000)
    s.takes("cleo", 10)
    s.wait(96_000)
    s.hand_over("cleo", "anna", known=False)
    s.looks()
    s.settle(s.at(paid), "sell", right=True)
    for seat in (1, 2, 4, 5):
        s.takes("cleo", seat)
    s.hand_over("cleo", "anna", known=False)
    s.looks()
    s.sweep(3, 320_000)
    s.looks()


def a_pause_goes_over(s: Told) -> None:
    """A pause that he has, though what he lost counts elsewhere by now; and none where nothing was lost too often."""
    s.takes("ben", 0)
    s.sweep(3, 110_000)
    s.hand_over("ben", "cleo", known=False)
    s.takes("cleo", 1)
    for seat in (2, 3, 4, 5):
        s.takes("anna", seat)
    s.sweep(3, 110_000)
    s.asks("cleo", 7, code="cooling_down")
    s.wait(40_000)
    s.takes("cleo", 7)
    s.hand_over("ben", "cleo", known=False)
    s.takes("cleo", 8)
    s.asks("anna", 7, code="cooling_down")
    s.hand_over("anna", "ben", known=False)
    s.hand_over("anna", "cleo", known=False)
    s.asks("cleo", 9, code="cooling_down")
    s.asks("ben", 9, code="cooling_down")
    s.wait(60_000)
    s.everything_agrees()
    s.hand_over("ben", "anna", known=False)
    for who in ("anna", "ben", "cleo"):
        s.hold(who, wish(9))
    for _ in range(8):
        s.sweep(3, 110_000)
    s.looks()


def losses_without_a_budget(s: Told) -> None:
    s.takes("anna", 0)
    s.takes("anna", 1)
    s.sweep(3, 110_000)
    s.hand_over("anna", "ben", known=False)
    s.takes("ben", 2)
    s.asks("ben", 1, code="cooling_down")
    s.takes("anna", 3)
    s.sweep(3, 320_000)
    s.sweep(3, 320_000)
    s.takes("ben", 0, 1)
    s.looks()


def losses_add_up(s: Told) -> None:
    """What was lost first is kept from its holder beside what he lost later, and longer than its tombstone is there."""
    for seat in (0, 3):
        s.takes("anna", seat)
        s.sweep(3, 110_000)
    for seat in (0, 3):
        s.asks("anna", seat, code="cooling_down")
    s.sweep(3, 210_000)
    s.asks("anna", 0, 3, code="cooling_down")
    s.everything_agrees()
    s.sweep(3, 320_000)
    s.takes("anna", 0, 3)


# --- Staff


def what_the_house_keeps(s: Told) -> None:
    anna = s.takes("anna", 0, 1, a=2)
    s.block([0, 2, 3], 4, back=False, kill=False)
    s.block([2, 3, 5], 3, back=False, kill=False)
    s.block([5, 7], 3, back=False, kill=True)
    s.asks("ben", 2, code="seat_taken")
    s.asks("ben", a=1, code="area_full")
    s.everything_agrees()
    s.block([3, 5], 1, back=False, kill=True)
    s.block([3], 1, back=False, kill=False)
    s.block([0, 3, 4, 7], 0, back=True, kill=False)
    s.everything_agrees()
    s.hold_for_customer("ben", wish(2, 4), over_house=False)
    s.said("seat_taken")
    s.hold_for_customer("ben", wish(5, 4), over_house=True)
    s.said("seat_taken")
    s.hold_for_customer("ben", wish(a=4), over_house=True)
    s.said("area_full")
    s.hold_for_customer("ben", wish(2, 4, 8, a=1), over_house=True)
    theirs = s.order[-1]
    s.everything_agrees()
    for change in (s.adds, s.swaps):
        change(theirs, 9, code="forbidden")
    s.gives_back(theirs, code="forbidden")
    s.puts_off(theirs, "forbidden")
    s.looks()
    s.block([7, 9], 0, back=False, kill=False)
    s.move(s.at(theirs), wish(0, 9), over_house=True)
    s.said("seat_taken")
    s.move(s.at(theirs), wish(7, 9), over_house=False)
    s.said("seat_taken")
    s.move(s.at(theirs), wish(5), over_house=True)
    s.said("seat_taken")
    s.move(s.at(theirs), wish(2, a=5), over_house=True)
    s.said("area_full")
    s.move(s.at(theirs), wish(2, 7, 9, a=2), over_house=True)
    s.everything_agrees()
    s.move(s.at(anna), wish(1, 4, b=3), over_house=False)
    s.everything_agrees()
    s.adds(anna, 10)
    s.everything_agrees()
    s.gives_back(anna)
    s.move(s.at(anna), wish(1), over_house=False)
    s.said("hold_not_found")
    s.withdraw(s.at(anna))
    s.said("hold_not_found")
    s.sweep(3, 320_000)
    s.withdraw(s.at(theirs))
    s.everything_agrees()
    s.sweep(3, 320_000)
    s.looks()
    ben = s.takes("ben", 2, 7, 9, a=2)
    s.withdraw(s.at(ben))
    s.looks()


def what_staff_give_and_sell(s: Told) -> None:
    s.takes("anna", 0, a=2)
    for seat in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11):
        s.hold_for_customer("ben", wish(seat), over_house=False)
    s.hold_for_customer("ben", wish(12), over_house=False)
    s.said("limit_exceeded")
    s.withdraw(s.at(s.order[-1]))
    s.block([12, 6], 1, back=False, kill=False)
    s.hold_for_customer("ben", wish(12), over_house=True)
    s.everything_agrees()
    s.close("cleo", wish(11))
    s.everything_agrees()
    s.block([5, 9], 1, back=False, kill=True)
    s.block([7, 8], 1, back=False, kill=False)
    anna = s.takes("anna", 0, a=2)
    s.sell_at_once("ben", wish(0), True, False)
    s.said("seat_taken")
    s.sell_at_once("ben", wish(5), True, False)
    s.said("seat_taken")
    s.sell_at_once("ben", wish(7), False, False)
    s.said("seat_taken")
    s.sell_at_once("ben", wish(a=4), True, False)
    s.said("area_full")
    s.sell_at_once("ben", wish(4, 7, 8, a=1), True, True)
    s.everything_agrees()
    s.sell_at_once("anna", wish(1, 7, b=1), True, False)
    sale = s.order[-1]
    s.looks()
    s.gives_back(sale, code=s.ref.refusal_of_hold(sale, "anna") or "")
    s.wait(110_000)
    s.sweep(3, 320_000)
    s.everything_agrees()
    s.settle(s.at(sale), "sell", right=True)
    s.everything_agrees()
    s.settle(s.at(sale), "free", right=True)
    s.looks()
    assert anna


def what_dead_workers_took(s: Told) -> None:
    """Over a house hold, and released by a colleague. Moved before, it gives the house what it still has."""
    s.block([2, 3, 5], 3, back=False, kill=False)
    s.takes("anna", 0, a=1)
    for moved in (None, wish(2, 9, a=1, b=1), wish(4, a=1), wish(8)):
        s.hold_for_customer("ben", wish(2, 4, 5, a=2, b=1), over_house=True, died=True, moved=moved)
        s.said(*(None for _ in range(1 if moved is None else 2)), "hold_not_found", "hold_not_found")
        s.everything_agrees()
        s.block([2, 3, 5], 3, back=False, kill=False)
    s.hold_for_customer("ben", wish(4, a=1), over_house=False, died=True)
    s.looks()


def what_a_channel_has(s: Told) -> None:
    anna = s.takes("anna", 0, 1, a=2)
    s.assign("agency", [0, 2, 3], 4)
    s.assign("agency", [2, 3, 4], 2)
    s.assign("web", [5, 7], 2)
    s.everything_agrees()
    s.asks("anna", 2, code="seat_taken")
    s.asks("cleo", 5, code="seat_taken")
    s.asks("anna", b=2, code="area_full")
    mixed = s.takes("cleo", 4, 8)
    s.everything_agrees()
    s.gives_back(mixed)
    cleo = s.takes("cleo", 2, 3, a=2)
    ben = s.takes("ben", 5)
    s.assign("web", [2, 3, 5], 0)
    s.assign("agency", [2, 4], 1)
    s.everything_agrees()
    s.assign("agency", [4], 3)
    s.assign("box-office", [8, 9], 1)
    s.everything_agrees()
    s.adds(cleo, 4)
    s.swaps(cleo, 3, 4, a=1, b=2)
    s.adds(ben, 4, code="seat_taken")
    s.adds(ben, 7)
    s.swaps(ben, 5, 8, code="seat_taken")
    s.move(s.at(ben), wish(5, 8), over_house=False)
    s.move(s.at(cleo), wish(2, 9, a=2), over_house=False)
    s.everything_agrees()
    s.hold_for_customer("ben", wish(3), over_house=False)
    s.said("seat_taken")
    s.hold_for_customer("ben", wish(8, 9), over_house=False)
    s.block([3, 10], 1, back=False, kill=False)
    s.everything_agrees()
    s.pays(cleo)
    s.give_part_back(cleo, 1, 1, right=True)
    s.settle(s.at(cleo), "sell", right=True)
    s.assign("web", [*s.ref.holds[cleo].seats], None)
    s.everything_agrees()
    s.sell_at_once("anna", wish(3), False, False)
    s.said("seat_taken")
    s.open_channel("agency")
    s.everything_agrees()
    s.open_channel("agency")
    s.assign("", [7, 5], None)
    s.everything_agrees()
    s.settle(s.at(cleo), "free", right=True)
    s.gives_back(anna, part=True)
    s.open_channel("web")
    s.assign("agency", [0, 1], 5)
    s.withdraw(s.at(ben))
    s.sweep(3, 110_000)
    s.assign("agency", [0, 1, 2, 3], 5)
    s.everything_agrees()
    s.asks("anna", 0, code="seat_taken")
    s.takes("cleo", 0, 1, a=3)
    s.everything_agrees()


def what_the_sale_allows(s: Told) -> None:
    anna = s.takes("anna", 0, 1, a=1)
    for act in ("hold", "add", "replace", "extend", "checkout"):
        s.pause(0, "anna", wish(5), act, early=True)
    ben = s.takes("ben", 2)
    cleo = s.takes("cleo", 3, 4, a=1, b=2)
    paid = s.takes("ben", 7, a=1)
    s.pays(paid)
    s.hold_for_customer("ben", wish(8), over_house=False)
    s.close("anna", wish(5))
    s.everything_agrees()
    s.looks()
    s.sweep(3, 320_000)
    s.looks()
    s.settle(s.at(paid), "restore", right=True)
    s.everything_agrees()
    s.takes("cleo", 3, 4, 2, a=2)
    assert {anna, ben, cleo} < s.ref.holds.keys()


def an_act_without_a_note(s: Told) -> None:
    """It is done whatever was noted before it, and what became of that is still known."""
    name, note = s.takes("anna", 0), s.note()
    noted = s.run(s.staff.move_hold(s.event, name, [(1, "adult")], [], over_house=False, note=note))
    other = s.run(s.staff.move_hold(s.event, name, [(2, "adult")], [], over_house=False))
    assert isinstance(other, Undone)
    hold = s.ref.holds[name]
    hold.seats, hold.reason = {2}, "staff"
    s.settle_act(note, noted)
    s.everything_agrees()


TALES = [
    (holds_go_over, PLAIN),
    (losses_go_over, FAIR),
    (a_pause_goes_over, FAIR),
    (losses_without_a_budget, PLAIN),
    (losses_add_up, PLAIN),
    (what_the_house_keeps, PLAIN),
    (what_staff_give_and_sell, PLAIN),
    (what_dead_workers_took, PLAIN),
    (what_a_channel_has, PLAIN),
    (what_the_sale_allows, PLAIN),
    (an_act_without_a_note, PLAIN),
]
