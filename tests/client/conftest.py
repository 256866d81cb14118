"""A truth at entry 5 of epoch e1, and a client that was told of it."""

import pytest
from live_stand_in import Client, Truth


@pytest.fixture
def truth() -> Truth:
    truth = Truth(seq=4)
    truth.change({1: 1, 2: 2}, held_places=3)
    truth.tick()
    return truth


@pytest.fixture
def client(truth: Truth) -> Client:
    client = Client()
    client.connected()
    client.hears(truth.welcome(client.fmt))
    return client
