"""Who may do what: workspaces, their keys, the callers behind requests, the people who sign in, and POSTs that may be
repeated.

It promises:
  - Nothing crosses from one workspace to another: somebody else's is answered exactly like one that does not exist.
  - A secret is shown once, when it is made; the database has only its hash.
  - A revoked key, an ended session and a disabled user are refused from their next use on: nothing remembers them.
  - A POST that is repeated under one Idempotency-Key has one effect, and each repeat gets the first answer.

It imports database and core, never flask, Redis or Celery. Everybody above may import it: ledger, live, delivery, web,
workers, cli.

A process has one Callers, which any number of requests may use at once: they share its queries. The other functions
work in their caller's transaction.
"""
