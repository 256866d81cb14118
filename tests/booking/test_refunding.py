"""What can be given back, as a table, and over random refunds: never more than was paid, and to the last unit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lml_live.booking.ledger import Shares, share_out
from lml_live.booking.refunding import (
    Earlier,
    NotRefundable,
    PaidLine,
    Plan,
    lost_of_rest,
    plan_refund,
    state_of_money,
    what_is_left,
)
from lml_live.booking.states import BookingState

# Two seats at 100 + 10, the tax (10 %) contained, and a place for nothing.
PAID = (PaidLine(1, 100, 10, 10), PaidLine(2, 100, 10, 10), PaidLine(3, 0, 0, 0))


def before(
    shares: Shares, lines: tuple[int, ...] = (), state: str = "succeeded", *, accepted: bool = True
) -> tuple[Earlier, ...]:
    return (Earlier(shares, lines, state, accepted),)  # type: ignore[arg-type]


ONE = share_out([(100, 10, 10)])
ALL = share_out([(100, 10, 10), (100, 10, 10)])

# what was given back before · the wish · what comes of it
PLANS: list[tuple[tuple[Earlier, ...], dict[str, object], Plan | str]] = [
    ((), {}, Plan(ALL, (1, 2, 3))),
    ((), {"lines": [2]}, Plan(ONE, (2,))),
    ((), {"lines": [3]}, Plan(Shares(0, 0, 0), (3,))),
    ((), {"lines": [2, 1]}, Plan(ALL, (1, 2))),
    ((), {"lines": [2, 2]}, "invalid_message"),
    ((), {"lines": [4]}, "invalid_message"),
    ((), {"lines": []}, "invalid_message"),
    ((), {"amount": 220}, Plan(ALL, ())),
    ((), {"amount": 221}, "conflict"),
    (before(ONE, (1,)), {}, Plan(ONE, (2, 3))),
    (before(ONE, (1,)), {"lines": [1]}, "conflict"),
    (before(ONE, (1,)), {"lines": [2]}, Plan(ONE, (2,))),
    (before(ONE, (1,), "pending", accepted=False), {"amount": 111}, "conflict"),
    (before(ONE, (1,), "failed", accepted=False), {"lines": [1]}, Plan(ONE, (1,))),
    (before(ALL, (1, 2, 3)), {}, "conflict"),
    (before(ALL), {}, "conflict"),
    (before(Shares(90, 9, 11)), {"lines": [1, 2]}, "conflict"),
    # What came back is the buyer's already, and goes first; its places are gone.
    (before(ONE, (1,), "failed"), {"lines": [1]}, "conflict"),
    (before(ONE, (1,), "failed"), {"amount": 110}, Plan(Shares(0, 0, 0, 110), ())),
    (before(ALL, (1, 2, 3), "failed"), {}, Plan(Shares(0, 0, 0, 220), ())),
    (before(ALL, (1, 2, 3), "failed") + before(Shares(0, 0, 0, 220)), {}, "conflict"),
    (
        before(ALL, (1, 2, 3), "failed") + before(Shares(0, 0, 0, 220), state="failed"),
        {"amount": 220},
        Plan(Shares(0, 0, 0, 220), ()),
    ),
]


@pytest.mark.parametrize(("earlier", "wish", "wanted"), PLANS)
def test_what_a_wish_comes_to(earlier: tuple[Earlier, ...], wish: dict[str, object], wanted: Plan | str) -> None:
    found = plan_refund(PAID, earlier, **wish)  # type: ignore[arg-type]
    assert (found.code if isinstance(found, NotRefundable) else found) == wanted


# what was given back · what the booking is then
STATES: list[tuple[tuple[Earlier, ...], BookingState]] = [
    ((), "confirmed"),
    (before(ONE, (1,), "pending", accepted=False), "confirmed"),
    (before(ONE, (1,)), "partially_refunded"),
    (before(Shares(0, 0, 0), (3,)), "partially_refunded"),
    (before(ALL), "refunded"),
    (before(ALL, (1, 2, 3), "failed"), "refunded"),
    (before(ONE, (1,), "failed") + before(Shares(0, 0, 0, 110)), "partially_refunded"),
]


@pytest.mark.parametrize(("earlier", "wanted"), STATES)
def test_what_a_booking_is_by_its_refunds(earlier: tuple[Earlier, ...], wanted: BookingState) -> None:
    assert state_of_money(PAID, earlier) == wanted


def test_what_cost_nothing_is_given_back_once() -> None:
    free = (PaidLine(1, 0, 0, 0), PaidLine(2, 0, 0, 0))
    first = plan_refund(free, (), lines=[1])
    assert first == Plan(Shares(0, 0, 0), (1,))
    assert state_of_money(free, before(Shares(0, 0, 0), (1,))) == "partially_refunded"
    both = before(Shares(0, 0, 0), (1,)) + before(Shares(0, 0, 0), (2,))
    assert state_of_money(free, both) == "refunded"
    assert isinstance(plan_refund(free, both), NotRefundable)


# what was given back before · the dispute's amount · whose money is lost
LOST: list[tuple[tuple[Earlier, ...], int, Shares]] = [
    ((), 220, ALL),
    ((), 110, ONE),
    (before(ONE, (1,)), 110, ONE),
    (before(ONE, (1,)), 220, Shares(ONE.venue + 110, ONE.fees, ONE.tax)),
    (before(ONE, (1,), "failed"), 220, Shares(ONE.venue, ONE.fees, ONE.tax, 110)),
    (before(ALL, (1, 2, 3), "failed"), 50, Shares(0, 0, 0, 50)),
]


@pytest.mark.parametrize(("earlier", "amount", "wanted"), LOST)
def test_whose_money_a_lost_dispute_takes(earlier: tuple[Earlier, ...], amount: int, wanted: Shares) -> None:
    found = lost_of_rest(*what_is_left(PAID, earlier), amount)
    assert found == wanted
    assert found.total == amount
    left, owed = what_is_left(PAID, earlier, found)
    assert min(left.fees, left.tax, owed) >= 0, "nobody but the venue loses what he has not"
    assert isinstance(plan_refund(PAID[:2], earlier, found), NotRefundable) is (left.total + owed <= 0)


PRICE = st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(0, 30)).map(
    lambda line: (line[0], line[1], (line[0] + line[1]) * line[2] // 100)
)
WISH = st.one_of(
    st.builds(lambda n: {"amount": n}, st.integers(1, 60)),
    st.builds(lambda n: {"lines": [n]}, st.integers(1, 4)),
    st.just({}),
)
END = st.sampled_from([("succeeded", True), ("pending", True), ("failed", True), ("failed", False)])


@settings(max_examples=60)
@given(prices=st.lists(PRICE, min_size=1, max_size=3), wishes=st.lists(st.tuples(WISH, END), max_size=6))
def test_no_history_gives_back_more_than_was_paid_of_anybodys(
    prices: list[tuple[int, int, int]], wishes: list[tuple[dict[str, object], tuple[str, bool]]]
) -> None:
    paid = [PaidLine(number, *price) for number, price in enumerate(prices, 1)]
    whole, earlier = share_out(prices), ()
    for wish, (state, accepted) in wishes:
        plan = plan_refund(paid, earlier, **wish)  # type: ignore[arg-type]
        if isinstance(plan, Plan):
            earlier += before(plan.shares, plan.lines, state, accepted=accepted)
        taken = [one.shares for one in earlier if one.counts or one.came_back]
        for name in ("venue", "fees", "tax"):
            assert 0 <= sum(getattr(one, name) for one in taken) <= getattr(whole, name)
        assert all(min(one.venue, one.fees, one.tax, one.owed) >= 0 for one in taken)
        assert sum(one.shares.total for one in earlier if one.counts) <= whole.total
    rest = plan_refund(paid, earlier)
    if isinstance(rest, Plan):
        earlier += before(rest.shares, rest.lines)
    assert sum(one.shares.total for one in earlier if one.counts) == whole.total
