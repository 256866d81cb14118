"""No call that is documented ends in an error of ours or in an answer that is not (see calls.py)."""

import pytest
from calls import RIGHT, Calls, House
from schemathesis import GenerationMode
from serving import LiveServer

from lml_live.devstack.stripe.process import StripeDouble

FEW = {GenerationMode.POSITIVE: 1, GenerationMode.NEGATIVE: 1}
"""What is true, by everybody, and one that is wrong; `make fuzz` makes more of each."""
NEVER = {
    *("choose_password", "stripe_webhook", "list_cards", "forget_card"),
    *("begin_layout_draft", "replace_layout_draft", "publish_layout", "compare_layout_versions"),
    *("push_layout", "roll_back_layout", "link_layout"),
}
"""What needs a secret from a mail, Stripe's signature, an account, a draft's hash, several versions, or an edge: their
own tests have those."""


@pytest.fixture(scope="module")
def calls(shop: LiveServer, stripe_shared: StripeDouble) -> Calls:
    house = House(shop, stripe_shared)
    house.furnish()
    return Calls(house)


@pytest.mark.parametrize("tag", RIGHT)
def test_every_answer_is_a_documented_one(calls: Calls, tag: str) -> None:
    names = calls.names(tag)
    for name in names:
        calls.make(name, FEW)
    assert calls.wrong == [], "\n\n".join(calls.wrong)
    went_well = {name for name, status in calls.answers if status < 400}
    assert set(names) - went_well <= NEVER, "the others end at the door"


def test_every_call_is_somebodys(calls: Calls) -> None:
    assert len({name for tag in RIGHT for name in calls.names(tag)}) > 60
