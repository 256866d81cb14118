"""A truth at entry 5 of epoch e1, and a client that was told of it.

Not a conftest: pytest knows all of them as the one module `conftest`, and tests of other rooms import from the house's.
Test modules import the fixtures that they use by the names of their functions.
"""

import pytest
from live_stand_in import Client, Truth


@pytest.fixture(name="truth")
def truth_fixture() -> Truth:
    truth = Truth(seq=4)
    truth.change({1: 1, 2: 2}, held_places=3)
    truth.tick()
    return truth


@pytest.fixture(name="client")
def client_fixture(truth: Truth) -> Client:
    client = Client()
    client.connected()
    client.hears(truth.welcome(client.fmt))
    return client
