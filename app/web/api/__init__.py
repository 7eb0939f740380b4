"""/v1, the canonical API: one file for each noun.

A handler gets a call that is admitted and checked, calls a function of accounts, ledger, live or delivery, and shows
the result. There is no SQL and no rule here.

It promises:
  - Answers may gain members; none is renamed or removed. Lists are {"data": […], "next_cursor": …}.
  - A POST with an Idempotency-Key has one effect, however often it is sent.
  - A foreign id is answered exactly like one that does not exist.

application.py imports it, and web/live some of its query fields. Handlers run in many requests at once, each in a
transaction of its own.
"""
