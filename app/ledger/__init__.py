"""Accepts events: numbers them, stores them and makes their deliveries, in one call for everybody who waits.

Streams and accepted events are also opened, listed and read back here.

It promises:
  - An event that was answered with a seq is committed, and so are its deliveries. Nothing is announced before.
  - A stream's events are numbered 1, 2, 3, … without a gap, in the order of their commits.
  - One idempotency key of a stream is one event, however often, from wherever and however concurrently it comes.
  - An event that is refused, or a request that the database refuses, harms no other event of its group.
  - A lock that somebody holds on a stream delays others once, for a second, and then for some seconds not at all.
  - A key that was revoked, and an endpoint that was registered, before an event was posted, is seen by it.
  - One workspace's events do not wait for another's.
  - A request is accepted however many deliveries it makes, in slices: each of its events is, or is refused, by itself.
  - What may have been committed is not tried again: the caller learns that it is unknown, and repeats with its key.

It imports accounts, database and core, never flask, Redis or Celery: whom to tell of events is passed in. live,
delivery and web may import it.

A process has one Ledger, which any number of requests may use at once; any number of processes may work on the same
streams, because row locks put them in order. The functions of streams.py and events.py work in their caller's
transaction.

ledger.py      group commit: who travels together, what is tried again, announcing
group.py       one call: judge, lock, decide, insert, commit
parcel.py      what the call takes and gives (pure)
slices.py      how heavy a request is, and how far a slice of it reaches (pure)
matching.py    which endpoints want an event, as far as this process remembers
submission.py  what is asked, and what is answered
quarantine.py  which streams were found locked lately
rows.py        streams opened and ended one at a time
statements.py  the SQL
streams.py     streams: opened, read, listed
events.py      accepted events read back
"""
