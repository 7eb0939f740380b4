"""Live streams over HTTP: the routes that contracts declare, and the live view of the delivery log.

A contract is data; this folder serves it. `routes` makes a Flask route of each declared one, `description` its part of
the OpenAPI document, and `errors` words its refusals. A stream opens on one path over any transport (`opening`): admit
the caller, place the subscriber, open the carrier. `sse` and `websocket` differ only in how they answer then; `mint`
stops after admitting. `delivery_log` stands apart: it shows attempts, not events.

What it promises:

* Everything that can be refused is refused before the first byte of a stream, in a fixed order: credential (401), form
  of the id (422), look-up in the caller's own workspace (404). Another workspace's stream answers like an absent one.
* Every error has the form and the words that the contract gives it.
* No contract is known by name. A new one needs a TOML file and no code.

Who may import it: only `web`, which puts its blueprints into the application.

How it may be used at once: each request runs in a greenlet of its own, under gunicorn's gevent worker, whose plain
socket the hub writes to. What is handed from step to step is frozen. A WebSocket's texts are accepted in a greenlet
beside it, one after the other.
"""
