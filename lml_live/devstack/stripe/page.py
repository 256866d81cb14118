"""The page of the card's issuer, for 3-D Secure: two buttons, then back to `return_url` as Stripe sends the buyer."""

import html
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiohttp import web

from lml_live.devstack.stripe.objects import PaymentIntent
from lml_live.devstack.stripe.requests import Api
from lml_live.devstack.stripe.world import IssuerPage

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors *",
    "Referrer-Policy": "no-referrer",
}
_STYLE: Final = """
:root { color-scheme: light dark; font: 1.1rem/1.5 system-ui, sans-serif }
body { margin: 0; display: grid; min-height: 100vh; place-items: center }
main { max-width: 26rem; padding: 1.5rem }
button, a.button { font: inherit; display: block; width: 100%; box-sizing: border-box; min-height: 3rem;
  margin: .75rem 0; border: 2px solid; border-radius: .5rem; padding: .5rem 1rem; cursor: pointer;
  background: none; color: inherit; text-align: center; text-decoration: none }
button[value=complete] { background: #14532d; color: #fff; border-color: #14532d }
:focus-visible { outline: 3px solid #2563eb; outline-offset: 3px }
"""
_OPEN: Final = """<p>The bank that issued this card asks whether it is you who pays.</p>
<p><strong>{amount}</strong></p>
<form method="post">
<button name="outcome" value="complete" autofocus>Complete authentication</button>
<button name="outcome" value="fail">Fail authentication</button>
</form>
<p>This is a test page: no bank is asked and no money moves.</p>"""
_DECIMALS: Final = {
    **dict.fromkeys(("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga"), 0),
    **dict.fromkeys(("pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"), 0),
    **dict.fromkeys(("bhd", "jod", "kwd", "omr", "tnd"), 3),
}
"""The currencies whose minor unit is not a hundredth (docs.stripe.com/currencies)."""
_OVER: Final = "<p>This payment is not waiting for you any more.</p>{back}"
_BACK: Final = '<a class="button" href="{url}">Return to the shop</a>'
_DONE: Final = "<p>Done. You can close this page.</p>"


def show_amount(amount_minor: int, currency: str) -> str:
    """An amount as buyers read it: 9500 of eur are "95.00 EUR"."""
    decimals = _DECIMALS.get(currency.lower(), 2)
    whole, rest = divmod(amount_minor, 10**decimals)
    return f"{whole}{f'.{rest:0{decimals}}' if decimals else ''} {currency.upper()}"


def add_routes(router: web.UrlDispatcher, api: Api) -> None:
    """The page's two addresses: looking at it, and pressing one of its buttons."""

    async def show(request: web.Request) -> web.Response:
        found = _page_of(api, request)
        if found is None:
            return answer_html("Not found", "<p>There is no such payment.</p>", status=404)
        page, intent = found
        if not page.is_open(intent):
            back = _BACK.format(url=html.escape(_return_address(page, intent))) if page.return_url else ""
            return answer_html("Authentication", _OVER.format(back=back))
        amount = show_amount(intent.amount, intent.currency)
        return answer_html("Authentication", _OPEN.format(amount=html.escape(amount)))

    async def decide(request: web.Request) -> web.Response:
        found = _page_of(api, request)
        outcome = (await request.post()).get("outcome")
        if found is None or outcome not in ("complete", "fail"):
            return answer_html("Not found", "<p>There is no such payment.</p>", status=404)
        page, _ = found
        with api.store.transaction():
            act = api.act("authenticate")
            act.settle()
            intent = act.authenticate(page.intent, secret=page.secret, passed=outcome == "complete")
        api.on_change()
        if page.return_url is None:
            return answer_html("Authentication", _DONE)
        return web.Response(status=303, headers={**_HEADERS, "Location": _return_address(page, intent)})

    router.add_get("/authenticate/{id}", show)
    router.add_post("/authenticate/{id}", decide)


def _page_of(api: Api, request: web.Request) -> tuple[IssuerPage, PaymentIntent] | None:
    page = api.store.load("issuer_page", request.query.get("secret", ""), IssuerPage)
    if page is None or page.intent != request.match_info["id"]:
        return None
    intent = api.store.load("payment_intent", page.intent, PaymentIntent)
    return None if intent is None else (page, intent)


def _return_address(page: IssuerPage, intent: PaymentIntent) -> str:
    """`return_url` with what Stripe adds to it."""
    passed = intent.status in ("succeeded", "requires_capture", "processing")
    parts = urlsplit(page.return_url or "")
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        ("payment_intent", intent.id),
        ("payment_intent_client_secret", intent.client_secret),
        ("redirect_status", "succeeded" if passed else "failed"),
    ]
    return urlunsplit(parts._replace(query=urlencode(query)))


def answer_html(title: str, body: str, *, status: int = 200) -> web.Response:
    """A page of the double's; `body` is HTML."""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{title}</h1>{body}</main></body></html>"
    )
    return web.Response(status=status, text=text, content_type="text/html", headers=_HEADERS)
