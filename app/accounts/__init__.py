"""Who may do what: workspaces, their keys, the callers behind requests, and POSTs that may be repeated.

It promises:
  - Nothing crosses from one workspace to another: somebody else's is answered exactly like one that does not exist.
  - A secret is shown once, when it is made; the database has only its hash.
  - A revoked key is refused from its next use on: nothing remembers it.
  - A POST that is repeated under one Idempotency-Key has one effect, and each repeat gets the first answer.

It imports database and core, never flask, Redis or Celery. Everybody above may import it: ledger, live, delivery, web,
workers, cli.

A process has one Callers, which any number of requests may use at once: they share its queries. The other functions
work in their caller's transaction.
"""
