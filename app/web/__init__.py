"""The web processes: everything that answers an HTTP request. The only folder that knows flask.

It promises:
  - Every route is declared, and guarded unless its declaration says why it needs no key.
  - Every error is a problem (RFC 9457) with a trace id, or has the form that its contract gives it.
  - No database connection is held while a stream is open.

The rules are in the folders below (accounts, ledger, live, delivery), all of which it may import; here requests are
read and answers are written. Only app/__init__.py imports it. Every function may run in many requests at once: what
they share is the process's Engine. Importing this folder imports nothing: gunicorn's master takes serving.py from here
before its workers exist.

application.py  the Flask application: its routes and what surrounds them
engine.py       what the routes of a process work with, put together here and nowhere else
serving.py      what gunicorn hooks in: start, reload, stop
access_log.py   what it logs: a line for each answer
probes.py       health, readiness, metrics
http/           how a route is declared, guarded and read
api/            /v1, one file for each noun
live/           the routes that contracts declare, and the live delivery log
docs/           /docs, /openapi.json, /asyncapi.json and /llms.txt
metrics/        /metrics
pages/          what people see in a browser
"""
