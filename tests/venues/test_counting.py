"""How many values a JSON text has, counted before any is made: what strings hold is none of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lml_live import limits
from lml_live.venues.importers.reading import count_structure, count_values

_TEXTS = st.text(alphabet='",[{\\:a/\u00e9\n\u0000')
_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_TEXTS, inner, max_size=5),
    max_leaves=30,
)


@given(_TREES, st.booleans(), st.sampled_from([None, 1]))
def test_what_begins_a_value_counts_and_what_is_written_in_a_text_does_not(
    tree: Any, ascii_: bool, indent: Any
) -> None:
    text = json.dumps(tree, ensure_ascii=ascii_, indent=indent)
    assert count_structure(text.encode()) == _begins(tree) <= count_values(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('"[,{', 0),
        ('["\\\\",1]', 2),
        ('["\\",1]', 1),
        ('["\\\\\\",1]', 1),
        ('["",""]', 2),
        ('["a""b,"]', 1),
        ("[,", 2),
        ('\\",', 1),
    ],
)
def test_a_text_that_breaks_off_is_counted_up_to_its_fault_at_least(text: str, count: int) -> None:
    assert count_structure(text.encode()) == count


def test_only_where_it_decides_are_strings_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYOUT_JSON_VALUES_MAX", 4)
    assert (count_values('["a,b,c"]'), count_values('["a,b,c,d,e"]'), count_values(b'["a,b,c,d,e"]')) == (3, 1, 1)
    # More strings than there may be values and names are not parted from one another.
    monkeypatch.setattr(limits, "LAYOUT_JSON_VALUES_MAX", 0)
    assert count_values('["a,"]') == 4


def _begins(tree: Any) -> int:
    if isinstance(tree, dict):
        return 1 + max(0, len(tree) - 1) + sum(map(_begins, tree.values()))
    if isinstance(tree, list):
        return 1 + max(0, len(tree) - 1) + sum(map(_begins, tree))
    return 0
