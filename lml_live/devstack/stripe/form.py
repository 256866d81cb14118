"""Stripe's form encoding: `metadata[order]=7&payment_method_types[0]=card`, read into nested fields, then by type.

Pure. Whatever a request says wrongly becomes a `Refusal` that names the parameter as the SDK knows it.
"""

import re
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from lml_live import limits
from lml_live.devstack.stripe import refusals

Fields = dict[str, "str | Fields"]
T = TypeVar("T")

_KEY: Final = re.compile(r"(?P<first>[^\[\]]+)(?P<rest>(?:\[[^\[\]]*\])*)")
_PART: Final = re.compile(r"\[([^\[\]]*)\]")
_INTEGER: Final = re.compile(r"-?\d{1,15}")
_DEPTH_MAX: Final = 8
METADATA_KEYS_MAX: Final = 50
METADATA_KEY_CHARS_MAX: Final = 40
METADATA_VALUE_CHARS_MAX: Final = 500


def decode(text: str) -> Fields:
    """The nested fields of a form or query. `items[]=a&items[]=b` gets the keys "0" and "1", as if they were sent."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=limits.STRIPE_DOUBLE_FIELDS_MAX)
    except ValueError as error:
        raise refusals.invalid("", "Too many parameters.") from error
    fields: Fields = {}
    for key, value in pairs:
        _put(fields, key, value)
    return fields


def _put(fields: Fields, key: str, value: str) -> None:
    found = _KEY.fullmatch(key)
    parts = [found["first"], *_PART.findall(found["rest"])] if found else []
    if not parts or len(parts) > _DEPTH_MAX:
        raise refusals.invalid(key, f"Invalid parameter name: {key[:100]}")
    for part in parts[:-1]:
        inner = fields.setdefault(part or str(len(fields)), {})
        if isinstance(inner, str):
            raise refusals.invalid(key, f"Invalid hash: {key[:100]}")
        fields = inner
    fields[parts[-1] or str(len(fields))] = value


class Form:
    """Fields read by name. An empty value means that the parameter is unset, as in Stripe's own API."""

    def __init__(self, fields: Fields, path: str = "") -> None:
        self.fields = fields
        self._path = path

    def name(self, field: str) -> str:
        """The field's full name: `payment_method_data[card][number]`."""
        return f"{self._path}[{field}]" if self._path else field

    def __contains__(self, field: str) -> bool:
        return field in self.fields

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """Refuses what is not in `known`: a parameter that is silently ignored would hide a mistake."""
        for field in self.fields:
            if field not in known:
                raise refusals.unknown(self.name(field))

    def text(self, field: str, *, chars_max: int = 5_000) -> str | None:
        value = self.fields.get(field, "")
        if not isinstance(value, str):
            raise refusals.invalid(self.name(field), f"Invalid string: {self.name(field)}")
        if len(value) > chars_max:
            message = f"Invalid string: must be at most {chars_max} characters"
            raise refusals.invalid(self.name(field), message, "parameter_invalid_string")
        return value or None

    def required(self, field: str) -> str:
        return self._given(self.text(field), field)

    def integer(self, field: str) -> int | None:
        value = self.text(field)
        if value is None:
            return None
        if not _INTEGER.fullmatch(value):
            raise refusals.invalid(self.name(field), f"Invalid integer: {value[:50]}", "parameter_invalid_integer")
        return int(value)

    def required_integer(self, field: str) -> int:
        return self._given(self.integer(field), field)

    def flag(self, field: str) -> bool | None:
        value = self.text(field)
        if value in (None, "true", "false"):
            return None if value is None else value == "true"
        raise refusals.invalid(self.name(field), f"Invalid boolean: {value[:50]}")

    def choice(self, field: str, allowed: tuple[str, ...]) -> str | None:
        value = self.text(field)
        if value is not None and value not in allowed:
            raise refusals.invalid(self.name(field), f"Invalid {self.name(field)}: must be one of {', '.join(allowed)}")
        return value

    def texts(self, field: str) -> tuple[str, ...] | None:
        """A list: `types[0]=…&types[1]=…`, or one value alone."""
        value = self.fields.get(field)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            return (value,)
        found = tuple(part for part in value.values() if isinstance(part, str))
        if len(found) != len(value):
            raise refusals.invalid(self.name(field), f"Invalid array: {self.name(field)}")
        return found

    def inner(self, field: str) -> "Form | None":
        """A hash: `card[number]=…`."""
        value = self.fields.get(field)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            raise refusals.invalid(self.name(field), f"Invalid hash: {self.name(field)}")
        return Form(value, self.name(field))

    def metadata(self, before: dict[str, str]) -> dict[str, str]:
        """The metadata after the request: keys are added to `before`, an empty value removes one, `metadata=` all."""
        if self.fields.get("metadata") == "":
            return {}
        given = self.inner("metadata")
        after = dict(before)
        for key in given.fields if given else ():
            assert given is not None
            if len(key) > METADATA_KEY_CHARS_MAX:
                raise refusals.invalid(given.name(key), "Metadata keys can have at most 40 characters.")
            value = given.text(key, chars_max=METADATA_VALUE_CHARS_MAX)
            if value is None:
                after.pop(key, None)
            else:
                after[key] = value
        if len(after) > METADATA_KEYS_MAX:
            raise refusals.invalid("metadata", "You can have up to 50 keys of metadata.")
        return after

    def url(self, field: str) -> str | None:
        value = self.text(field)
        if value is not None and not re.match(r"https?://[^\s/]", value):
            raise refusals.invalid(self.name(field), "Not a valid URL", "url_invalid")
        return value

    def _given(self, value: T | None, field: str) -> T:
        if value is None:
            raise refusals.missing(self.name(field))
        return value
