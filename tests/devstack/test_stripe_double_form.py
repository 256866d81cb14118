"""The form encoding, as the SDK and pages send it."""

import contextlib
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe._encode import _api_encode

from lml_live.devstack.stripe.form import Fields, Form, decode
from lml_live.devstack.stripe.refusals import Refusal

# what is sent · what it means
TEXTS: list[tuple[str, Fields]] = [
    ("", {}),
    ("amount=4750&currency=eur", {"amount": "4750", "currency": "eur"}),
    ("metadata[booking]=b1&metadata[a b]=c%26d", {"metadata": {"booking": "b1", "a b": "c&d"}}),
    ("payment_method_types[0]=card&payment_method_types[1]=x", {"payment_method_types": {"0": "card", "1": "x"}}),
    ("expand[]=a&expand[]=b.c", {"expand": {"0": "a", "1": "b.c"}}),
    ("card[number]=42&card[billing][name]=A+B", {"card": {"number": "42", "billing": {"name": "A B"}}}),
    ("description=", {"description": ""}),
    ("amount=1&amount=2", {"amount": "2"}),
]


@pytest.mark.parametrize(("text", "fields"), TEXTS, ids=[text[:30] or "nothing" for text, _ in TEXTS])
def test_forms_are_read(text: str, fields: Fields) -> None:
    assert decode(text) == fields


@pytest.mark.parametrize(
    "text",
    ["[a]=1", "a[b=1", "a]=1", "a[b]c=1", "a=1&a[b]=2", "a[b][c][d][e][f][g][h][i]=1", "&".join(["a[]=1"] * 301)],
    ids=["no name", "open", "closed", "between", "both", "deep", "many"],
)
def test_forms_that_make_no_sense(text: str) -> None:
    with pytest.raises(Refusal):
        decode(text)


NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
VALUES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(fields=st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, min_size=1), max_size=6))
def test_what_the_sdk_encodes_is_read_back(fields: Fields) -> None:
    assert decode(urlencode(list(_api_encode(fields)))) == fields


@given(text=st.text(st.characters(codec="utf-8"), max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        form = Form(decode(text))
    except Refusal:
        return
    for field in form.fields:
        for read in (form.text, form.integer, form.flag, form.texts, form.inner, form.url):
            with contextlib.suppress(Refusal):
                read(field)


# metadata before · sent · after
METADATA = [
    ({}, "metadata[a]=1", {"a": "1"}),
    ({"a": "1"}, "metadata[b]=2", {"a": "1", "b": "2"}),
    ({"a": "1", "b": "2"}, "metadata[a]=", {"b": "2"}),
    ({"a": "1"}, "metadata=", {}),
    ({"a": "1"}, "", {"a": "1"}),
    ({}, "metadata[0]=1", {"0": "1"}),
]


@pytest.mark.parametrize(("before", "sent", "after"), METADATA)
def test_metadata_is_merged(before: dict[str, str], sent: str, after: dict[str, str]) -> None:
    assert Form(decode(sent)).metadata(before) == after


def test_metadata_has_at_most_fifty_keys() -> None:
    sent = "&".join(f"metadata[k{number}]=v" for number in range(50))
    assert len(Form(decode(sent)).metadata({})) == 50
    with pytest.raises(Refusal):
        Form(decode(sent)).metadata({"one": "more"})
