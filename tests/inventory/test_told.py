"""The tales are as they should be: on the way to each edge the reference and the log's mirror say the same."""

from typing import Any

import pytest
import tales_of_a_season
import tales_of_holders
import tales_of_the_book
import tales_of_the_house
from inventory_fixtures import inventory_dsn_fixture, scripts_keep_their_word  # noqa: F401
from tales_of_a_season import ToldSeason
from told import Told, tell

TALES: list[tuple[type[Told | ToldSeason], Any, dict[str, object]]] = [
    *(
        (Told, tale, rules)
        for tale, rules in (*tales_of_holders.TALES, *tales_of_the_house.TALES, *tales_of_the_book.TALES)
    ),
    *((ToldSeason, tale, rules) for tale, rules in tales_of_a_season.TALES),
]


@pytest.mark.parametrize(("machine", "tale", "rules"), TALES, ids=[tale.__name__ for _, tale, _ in TALES])
def test_told(
    valkey_url: str, inventory_dsn: str, machine: type[Told | ToldSeason], tale: Any, rules: dict[str, object]
) -> None:
    tell(type("Story", (machine,), {"dsn": inventory_dsn, "valkey": valkey_url}), tale, rules)
