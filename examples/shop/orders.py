"""Orders: a Flask application. It prices, reserves (with retries) and takes the payment."""

from __future__ import annotations

import os
from typing import Any

import requests
from flask import Flask, jsonify

import lookout_client as lookout

from .catalogue import DECLINED, ITEMS, Item
from .serving import serve_wsgi

MAX_TRIES = 3
STOCK_URL = os.environ.get("STOCK_URL", "http://127.0.0.1:8003")

flask_app = Flask(__name__)
http = requests.Session()
payments = lookout.counter("shop.payments", keys=["result"], help="Payments, by result.")
order_value = lookout.summary("shop.order.value", unit="cent", help="Price of each order.")
pricing = lookout.timer("shop.pricing", help="Time to price an order.")


class Declined(Exception):
    """The bank said no."""


@lookout.trace
def price(item: Item) -> int:
    with pricing.time():
        return item.price


@lookout.trace
def reserve(item: Item) -> bool:
    for attempt in range(1, MAX_TRIES + 1):
        reply = http.post(f"{STOCK_URL}/stock/{item.name}/reserve?try={attempt}", timeout=5)
        if reply.status_code == 200:
            lookout.current_span().set_tag("tries", attempt)
            return True
    return False


@lookout.trace(name="charge card", tags={"payment.provider": "piggybank"})
def charge(item: Item, cents: int) -> None:
    if item.name == DECLINED:
        raise Declined(f"{cents} cents are more than the card holds")


@flask_app.post("/orders/<name>")
def order(name: str) -> Any:
    item = ITEMS.get(name)
    if item is None:
        return jsonify(error=f"no such item: {name}"), 404
    cents = price(item)
    if not reserve(item):
        return jsonify(error="sold out"), 409
    try:
        charge(item, cents)
    except Declined as declined:
        payments.inc(result="declined")
        return jsonify(error=str(declined)), 402
    payments.inc(result="accepted")
    order_value.record(cents)
    return jsonify(item=name, cents=cents)


def app() -> Any:
    traced = lookout.WsgiMiddleware(flask_app.wsgi_app, exclude=["/metrics"])
    flask_app.wsgi_app = lookout.metrics_wsgi(traced)  # type: ignore[method-assign]
    return flask_app


if __name__ == "__main__":
    lookout.init(service_name="orders", instrument=["requests"])
    serve_wsgi(app())
