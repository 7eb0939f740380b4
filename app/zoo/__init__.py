"""Hostile receivers for whoever tests a sender of webhooks: `twofold zoo` serves them, `docs/zoo.md` lists them.

A receiver is data: a name, a sentence, the steps that it takes on a connection, and the outcome that a good sender
gives it. Promises: the standard library and `cryptography` only, every socket on 127.0.0.1, certificates made in memory
for each run. Imports nothing of `app` but `app.core`; the command line serves it and the tests drive it. One thread for
each connection; nothing is shared between connections but the counts.
"""
