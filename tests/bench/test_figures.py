"""The report's arithmetic, as tables."""

import msgspec
import pytest

from lml_live.bench import figures
from lml_live.bench.figures import Figure, Goal, Machine, Report, Slices, measured, not_measured, percentile, show

AT_MOST_10 = Goal("value", "most", 10)
AT_LEAST_09 = Goal("ratio", "least", 0.9)

MACHINE = Machine(
    "A processor", 2, 8 << 30, "6.1", 1024, (0.1, 0.2, 0.3), {"Python": "3.11"}, "lml bench", "2027-01-01"
)


@pytest.mark.parametrize(
    ("values", "median", "spread"),
    [
        ((), None, None),
        ((4.0,), 4.0, None),
        ((4.0, 6.0), 5.0, 0.1),
        ((1.0, 2.0, 3.0, 4.0, 100.0), 3.0, 1 / 3),
        ((5.0, 5.0, 5.0), 5.0, 0.0),
        ((-1.0, -2.0, -3.0), -2.0, 0.25),
        ((0.0, 0.0, 0.0), 0.0, None),
    ],
)
def test_a_side_is_the_median_of_its_slices(
    values: tuple[float, ...], median: float | None, spread: float | None
) -> None:
    assert Slices(values).median == median
    assert Slices(values).spread == (None if spread is None else pytest.approx(spread))


@pytest.mark.parametrize(
    ("goal", "value", "ratio", "met"),
    [
        (AT_MOST_10, 10.0, None, True),
        (AT_MOST_10, 10.1, 0.1, False),
        (AT_MOST_10, None, 0.1, None),
        (AT_LEAST_09, 10.1, 0.9, True),
        (AT_LEAST_09, 10.1, 0.89, False),
        (AT_LEAST_09, 10.1, None, None),
    ],
)
def test_a_goal_is_met_only_by_what_was_measured(
    goal: Goal, value: float | None, ratio: float | None, met: bool | None
) -> None:
    assert goal.is_met(value, ratio) is met


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (AT_MOST_10, "≤ 10 µs"),
        (AT_LEAST_09, "≥ 0.9 × the limit"),
        (Goal("ratio", "most", 1 / 0.7), "≤ 1.43 × the limit"),
    ],
)
def test_a_goal_in_words(goal: Goal, words: str) -> None:
    assert goal.words("µs") == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (1.7349, "1.73"),
        (12.34, "12.3"),
        (999.4, "999"),
        (999.6, "1,000"),
        (41_000.4, "41,000"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers_are_told_in_few_digits(value: float | None, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize(
    ("values", "share", "answer"),
    [((), 0.99, None), ((7.0,), 0.99, 7.0), (tuple(map(float, range(1, 101))), 0.99, 99.0), ((3.0, 1.0), 0.5, 1.0)],
)
def test_a_percentile_is_a_measured_value(values: tuple[float, ...], share: float, answer: float | None) -> None:
    assert percentile(values, share) == answer


def test_a_figure_beside_its_limit() -> None:
    figure = measured(
        "hold",
        "µs",
        Slices((8.0, 9.0, 10.0)),
        workload="holds",
        peers={"empty": Slices((2.0, 3.0, 4.0)), "other": Slices((30.0,))},
        limit="empty",
        goal=AT_MOST_10,
        flags={"appendonly": "yes"},
        raw={"calls": 3},
    )
    assert (figure.value, figure.limit, figure.ratio, figure.met) == (9.0, 3.0, 3.0, True)
    assert figure.peers == {"empty": 3.0, "other": 30.0}
    # A reader can compute all of it again.
    assert figure.raw["slices"] == {"ours": (8.0, 9.0, 10.0), "empty": (2.0, 3.0, 4.0), "other": (30.0,)}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((1.0, 1.1, 1.2), None),
        ((-5.0, 0.5, 5.0), "lost in the noise of this run"),
        ((3.0,), None),
        ((0.0, 0.0), None),
    ],
)
def test_a_value_that_its_spread_hides_is_told_as_such(values: tuple[float, ...], reason: str | None) -> None:
    assert measured("guard", "µs", Slices(values), workload="").reason == reason


def test_what_cannot_be_measured_is_told_with_its_reason() -> None:
    figure = not_measured("pipe", "holds/s", "redis-benchmark is not installed", goal=AT_LEAST_09)
    assert (figure.value, figure.limit, figure.ratio, figure.met) == (None, None, None, None)
    assert "redis-benchmark is not installed" in figures.as_text([figure])
    assert "redis-benchmark is not installed" in figures.as_markdown(Report(MACHINE, (figure,)))


def test_the_json_has_the_shape_that_was_promised() -> None:
    report = Report(MACHINE, (not_measured("a", "µs", "none"), measured("b", "µs", Slices((1.0,)), workload="w")))
    shown = msgspec.json.decode(figures.as_json(report))
    assert shown.keys() == {"machine", "figures"}
    for figure in shown["figures"]:
        assert figure.keys() >= {"figure", "value", "unit", "limit", "peers", "ratio", "goal", "met"}
    assert msgspec.json.decode(figures.as_json(report), type=Report).figures[1].figure == "b"


def test_the_table_is_told_alike_everywhere() -> None:
    rows: list[Figure] = [measured("hold", "µs", Slices((1.0, 2.0)), workload="two | seats", goal=AT_MOST_10)]
    text, page = figures.as_text(rows), figures.as_markdown(Report(MACHINE, tuple(rows)))
    for word in ("hold", "1.5", "≤ 10 µs", "yes"):
        assert word in text
        assert word in page
