"""The feed: all events of a workspace in one order, read with a cursor.

Promises: whoever reads from a cursor to the next misses no event and sees none twice; each stream's events come in the
order of their seqs. Ticks make the order (app/core/feed/window.py says how); any process may make them. A cursor of a
history that was lost is told so, never guessed at. Only app.web and the workers' pulse import this. Everything may be
used by any number of greenlets at once.
"""
