"""Stripe's errors: one class, whose constructors are the kinds of refusal that the double knows.

HTTP  type                    code                              saved for the idempotency key
400   invalid_request_error   parameter_*, amount_*, url_invalid     no: the operation has not begun
400   invalid_request_error   payment_intent_unexpected_state        yes
400   invalid_request_error   balance_insufficient, insufficient_capabilities_for_transfer, …    yes
400   idempotency_error                                              no
401   invalid_request_error   secret_key_required                    no
403   invalid_request_error   account_invalid                        no
402   card_error              card_declined, incorrect_number, …     yes
404   invalid_request_error   resource_missing                       yes
409   idempotency_error       idempotency_key_in_use                 no
429   invalid_request_error   rate_limit                             no
500   api_error                                                      yes
"""

import msgspec

from lml_live.devstack.stripe.objects import PaymentIntent, PaymentMethod


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands below `error` in an answer."""

    type: str
    message: str
    code: str | None = None
    decline_code: str | None = None
    param: str | None = None
    charge: str | None = None
    doc_url: str | None = None
    payment_intent: PaymentIntent | None = None
    payment_method: PaymentMethod | None = None


class Refusal(Exception):
    """An error as Stripe answers it. `saved`: repeated requests with the same idempotency key get it again."""

    limited: str | None = None
    """Of a 429: what there was too much of (`Stripe-Rate-Limited-Reason`)."""

    def __init__(self, status: int, body: ErrorBody, *, saved: bool = False) -> None:
        super().__init__(body.message)
        self.status = status
        self.body = body
        self.saved = saved


def _invalid(message: str, code: str | None, param: str | None = None) -> Refusal:
    return Refusal(400, ErrorBody(type="invalid_request_error", code=code, message=message, param=param))


def missing(param: str) -> Refusal:
    return _invalid(f"Missing required param: {param}.", "parameter_missing", param)


def unknown(param: str) -> Refusal:
    """A parameter that Stripe does not know, or that the double does not model."""
    return _invalid(f"Received unknown parameter: {param}", "parameter_unknown", param)


def invalid(param: str, message: str, code: str = "parameter_invalid") -> Refusal:
    return _invalid(message, code, param)


def unexpected_state(message: str, intent: PaymentIntent) -> Refusal:
    body = ErrorBody(
        type="invalid_request_error",
        code="payment_intent_unexpected_state",
        message=message,
        payment_intent=intent,
    )
    return Refusal(400, body, saved=True)


def not_refundable(message: str, code: str | None, charge: str | None) -> Refusal:
    return Refusal(400, ErrorBody(type="invalid_request_error", code=code, message=message, charge=charge), saved=True)


def not_transferable(message: str, code: str | None, param: str | None = None) -> Refusal:
    """A transfer, or the reversal of one, that cannot be made as things are."""
    return Refusal(400, ErrorBody(type="invalid_request_error", code=code, message=message, param=param), saved=True)


def no_access(account: str) -> Refusal:
    message = f"The provided key does not have access to account '{account}' (or that account does not exist)."
    return Refusal(403, ErrorBody(type="invalid_request_error", code="account_invalid", message=message))


def unauthorized(message: str, code: str | None = None) -> Refusal:
    return Refusal(401, ErrorBody(type="invalid_request_error", code=code, message=message))


def no_such(what: str, object_id: str, param: str = "id") -> Refusal:
    body = ErrorBody(
        type="invalid_request_error", code="resource_missing", param=param, message=f"No such {what}: '{object_id}'"
    )
    return Refusal(404, body, saved=True)


def no_such_address(method: str, path: str) -> Refusal:
    message = f"Unrecognized request URL ({method}: {path}). The double does not have it."
    return Refusal(404, ErrorBody(type="invalid_request_error", message=message))


def card_number_sent_by_server() -> Refusal:
    message = (
        "Sending credit card numbers directly to the Stripe API is generally unsafe. We suggest you use test tokens "
        "that map to the test card you are using, see https://stripe.com/docs/testing."
    )
    return Refusal(402, ErrorBody(type="invalid_request_error", message=message))


def card_error(code: str, message: str, *, param: str | None = None, decline_code: str | None = None) -> Refusal:
    body = ErrorBody(type="card_error", code=code, message=message, param=param, decline_code=decline_code)
    return Refusal(402, body, saved=True)


def other_parameters(key: str) -> Refusal:
    message = (
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Try using a key other than '{key}' if you meant to execute a different request."
    )
    return Refusal(400, ErrorBody(type="idempotency_error", message=message))


def other_endpoint(key: str) -> Refusal:
    message = (
        "Keys for idempotent requests can only be used for the same endpoint they were first used for. "
        f"Try using a key other than '{key}' if you meant to execute a different request."
    )
    return Refusal(400, ErrorBody(type="idempotency_error", message=message))


def key_in_use(key: str) -> Refusal:
    message = (
        f"There is currently another in-progress request using this Idempotent Key: '{key}'. Please try again later."
    )
    return Refusal(409, ErrorBody(type="idempotency_error", code="idempotency_key_in_use", message=message))


def rate_limited(reason: str) -> Refusal:
    message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    refusal = Refusal(429, ErrorBody(type="invalid_request_error", code="rate_limit", message=message))
    refusal.limited = reason
    return refusal


def server_error() -> Refusal:
    message = "Sorry! There was an error while talking to one of our backends."
    return Refusal(500, ErrorBody(type="api_error", message=message), saved=True)
