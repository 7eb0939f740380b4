"""Contracts: how each kind of stream shows itself to its subscribers, as data that TOML files declare.

`model` is what a contract can say: paths, credentials, frames, heartbeat, replay, overflow, errors. `reader`, with
`route_reader`, `values` and `strict_table`, makes one from parsed TOML; `checks` compares its parts with each other.
`frames` turns an event into the bytes that a subscriber is sent.

What it promises:

* A contract that was read is complete and consistent. What is unknown, missing or wrong is told with its place and the
  fix, all of it at once.
* Nothing outside a contract decides how its streams look, and no contract's name appears in the code.
* A payload keeps the producer's own spelling: key order, big integers and floats are never parsed and written again.
* Subscribers with equal views are sent the same bytes, so each event is encoded once per view.

Who may import it: everybody. It imports `core.wire`, `core.event` and the standard library.

How it may be used at once: freely. Contracts and views are frozen, and every function is pure.
"""
