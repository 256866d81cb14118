"""Random steps over the evenings of a season, among those of one of them, against the reference of each."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from inventory_fixtures import inventory_dsn_fixture, scripts_keep_their_word  # noqa: F401
from season import Season


def test_random_steps_over_a_season(valkey_url: str, inventory_dsn: str) -> None:
    """Three stories of twenty steps, beside those that are told (`test_told`); a failure prints the story."""

    class Story(Season):
        dsn, valkey = inventory_dsn, valkey_url

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Story,
        settings=settings(
            max_examples=3,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.generate],  # a shorter story is not worth two minutes
        ),
    )
