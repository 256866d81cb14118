"""How much of a booking is its organisation's: tables that a clerk could read, and what holds for all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lml_live.booking.ledger import Shares, share_out
from lml_live.booking.payouts import Due, Payable, Terms, net, sides, what_is_due
from lml_live.booking.refunding import Earlier, PaidLine, Plan, lost_of_rest, plan_refund

FREE, FIVE = Terms(0, 0), Terms(500, 50)
NO = Shares(0, 0, 0)


def payable(
    lines: list[tuple[int, int, int]],
    terms: Terms = FIVE,
    back: Shares = NO,
    lost: int = 0,
    *,
    step: int = 1,
    gone: list[tuple[int, int, int]] | None = None,
) -> Payable:
    """Of lines of (amount, fee, tax); `gone` are those that went back whole, which `back` contains."""
    whole, of_gone = share_out(lines), share_out(gone or [])
    return Payable(
        whole=whole,
        price_tax=price_tax(lines),
        tickets=sum(amount > 0 for amount, _, _ in lines),
        terms=terms,
        back=back,
        gone_tax=of_gone.tax,
        gone_price_tax=price_tax(gone or []),
        lost=lost_of_rest(Shares(whole.venue - back.venue, whole.fees - back.fees, whole.tax - back.tax), 0, lost),
        step=step,
    )


def price_tax(lines: list[tuple[int, int, int]]) -> int:
    return sum(tax - (tax * fee // (amount + fee) if fee else 0) for amount, fee, tax in lines)


ONE = [(10_000, 0, 0)]
TAXED = [(10_700, 1_070, 770)]  # 10,000 + 7 %, and a fee of 1,000 + 7 %
# lines · terms · given back · lost · what is due: price, tax in it, our commission
DUES: list[tuple[list[tuple[int, int, int]], Terms, Shares, int, Due]] = [
    (ONE, FREE, NO, 0, Due(10_000, 0, 0)),
    (ONE, FIVE, NO, 0, Due(10_000, 0, 550)),
    (TAXED, FREE, NO, 0, Due(10_000, 700, 0)),  # the buyer's fee is ours, with its tax
    (TAXED, FIVE, NO, 0, Due(10_000, 700, 585)),
    ([(10, 0, 0)], FIVE, NO, 0, Due(10, 0, 10)),  # never more than there is
    ([(0, 500, 0)], FIVE, NO, 0, Due(0, 0, 0)),
    ([(0, 0, 0), (10_000, 0, 0)], FIVE, NO, 0, Due(10_000, 0, 550)),  # what costs nothing is no ticket
    (ONE, FIVE, Shares(5_000, 0, 0), 0, Due(5_000, 0, 275)),  # our commission goes back in proportion
    (ONE, FIVE, Shares(10_000, 0, 0), 0, Due(0, 0, 0)),
    (ONE, FIVE, NO, 10_000, Due(0, 0, 0)),
    (ONE, FIVE, Shares(4_000, 0, 0), 3_000, Due(3_000, 0, 165)),
    (ONE, FIVE, Shares(4_000, 0, 0), 7_000, Due(-1_000, 0, 0)),  # given back twice: it owes that
    (TAXED, FREE, Shares(10_000, 1_000, 770), 0, Due(0, 0, 0)),
    ([(333, 0, 0)], Terms(333, 0), Shares(100, 0, 0), 0, Due(233, 0, 8)),
]


@pytest.mark.parametrize(("lines", "terms", "back", "lost", "wanted"), DUES)
def test_what_is_due(lines: list[tuple[int, int, int]], terms: Terms, back: Shares, lost: int, wanted: Due) -> None:
    assert what_is_due(payable(lines, terms, back, lost)) == wanted


def test_a_line_that_goes_back_whole_takes_its_own_tax_along() -> None:
    """It took that of all lines' mean, and the organisation was due 40 less of the ticket that was kept."""
    kept, gone = (10_700, 1_070, 770), (2_140, 1_070, 210)
    back = share_out([gone])
    assert what_is_due(payable([kept, gone], FREE, back, gone=[gone])) == Due(10_000, 700, 0)
    half = Shares(back.venue + 5_000, back.fees + 500, back.tax + 385)
    assert what_is_due(payable([kept, gone], FREE, half, gone=[gone])) == Due(5_000, 350, 0)


def test_amounts_are_what_stripe_can_move() -> None:
    due = what_is_due(payable([(10_010, 0, 0)], Terms(333, 0), step=10))
    assert (due.amount % 10, due.amount + due.fee) == (0, 10_010)


LINE = st.tuples(st.integers(0, 9_000), st.integers(0, 900), st.integers(0, 30)).map(
    lambda line: (line[0], line[1], (line[0] + line[1]) * line[2] // 130)
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(LINE, min_size=1, max_size=4),
    st.integers(0, 10_000),
    st.integers(0, 300),
    st.lists(st.floats(0, 1), max_size=6),
)
def test_it_is_never_more_than_is_left_and_never_grows(
    lines: list[tuple[int, int, int]], rate: int, per_ticket: int, parts: list[float]
) -> None:
    """I16, for whatever is given back in whatever parts; and the ledger of it comes out even."""
    paid = [PaidLine(number, *line) for number, line in enumerate(lines)]
    earlier: list[Earlier] = []
    price = sum(amount + fee for amount, fee, _ in lines)
    before = what_is_due(payable(lines, Terms(rate, per_ticket)))
    for part in [*parts, 1.0]:
        if not (left := price - sum(one.shares.total for one in earlier)):
            break
        open_ = [one.line for one in paid if not any(one.line in before.lines for before in earlier)]
        plan = plan_refund(paid, earlier, lines=open_[:1]) if part < 0.3 and open_ else None
        if not isinstance(plan, Plan):
            plan = plan_refund(paid, earlier, amount=max(1, round(left * part)))
        assert isinstance(plan, Plan)
        earlier.append(Earlier(plan.shares, plan.lines, "succeeded", accepted=True))
        back = Shares(*(sum(getattr(one.shares, part) for one in earlier) for part in ("venue", "fees", "tax")))
        whole = [one.lines for one in earlier if one.lines and one.shares == share_out(lines[n] for n in one.lines)]
        gone = [lines[number] for numbers in whole for number in numbers]
        due = what_is_due(payable(lines, Terms(rate, per_ticket), back, gone=gone))
        given_back = before.less(due)
        assert min(given_back.venue, given_back.tax, given_back.fee, given_back.amount) >= 0
        assert due.amount + due.fee <= price - back.total
        for posting in sides("reversal_begun", given_back), sides("transfer_begun", due, sent=due.amount):
            assert sum(one.debit for one in posting) == sum(one.credit for one in posting)
        before = due
    assert not price or before == Due(0, 0, 0)


# due · what is owed · what is kept
NETTED: list[tuple[int, tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]] = [
    (100, (), ()),
    (100, (("a", 30), ("b", 20)), (("a", 30), ("b", 20))),
    (100, (("a", 70), ("b", 70)), (("a", 70), ("b", 30))),
    (100, (("a", 100), ("b", 70)), (("a", 100),)),
    (0, (("a", 100),), ()),
    (-5, (("a", 100),), ()),
]


@pytest.mark.parametrize(("due", "owed", "kept"), NETTED)
def test_what_is_kept_for_what_is_owed(
    due: int, owed: tuple[tuple[str, int], ...], kept: tuple[tuple[str, int], ...]
) -> None:
    assert net(due, owed) == kept


# what · of which part · sent, netted · to the accounts (debits above 0, credits below)
BOOKED: list[tuple[str, Due, int, int, dict[str, int]]] = [
    (
        "transfer_begun",
        Due(1_000, 70, 50),
        900,
        120,
        {
            "venue_payable": 1_000,
            "tax_payable": 70,
            "fee_income": -50,
            "transfers_due": -900,
            "organisation_receivable": -120,
        },
    ),
    ("transfer_begun", Due(-40, 0, 0), 0, 0, {"venue_payable": -40, "organisation_receivable": 40}),
    ("transferred", Due(0, 0, 0), 900, 0, {"transfers_due": 900, "stripe_balance": -900}),
    (
        "reversal_begun",
        Due(500, 35, 25),
        0,
        0,
        {"venue_payable": -500, "tax_payable": -35, "fee_income": 25, "organisation_receivable": 510},
    ),
    (
        "again_begun",
        Due(500, 35, 25),
        400,
        110,
        {
            "venue_payable": 500,
            "tax_payable": 35,
            "fee_income": -25,
            "transfers_due": -400,
            "organisation_receivable": -110,
        },
    ),
    ("reversed", Due(0, 0, 0), 510, 0, {"stripe_balance": 510, "organisation_receivable": -510}),
]


@pytest.mark.parametrize(("posting", "of", "sent", "netted", "wanted"), BOOKED)
def test_what_it_books(posting: str, of: Due, sent: int, netted: int, wanted: dict[str, int]) -> None:
    made = sides(posting, of, sent=sent, netted=netted)  # type: ignore[arg-type]
    assert {one.account: one.debit - one.credit for one in made} == wanted
    assert sum(wanted.values()) == 0
