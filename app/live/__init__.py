"""Live delivery: shows the events of a stream to whoever is watching it, as they are accepted.

An accepted event is announced on the bus (`bus`), heard by the hub of every web process in which somebody watches its
stream (`hub`, `live_stream`), and written to the sockets of those subscribers (`subscriber`). A carrier (`carrier`)
takes each subscriber from its cursor to its end: it replays what came before, joins the live ones, and says farewell.

What it promises:

* A subscriber sees the events of its stream in the order of `seq`, from its cursor on, without a gap and without a
  repeat. The exception is a contract that says `drop`: frames that a slow subscriber loses are counted.
* PostgreSQL is the truth and the bus is a hint. Whatever Redis loses, repeats or reorders, a poll finds within about a
  second; without Redis streams are slower, never wrong.
* A slow or dead subscriber delays nobody else, and holds a bounded amount of memory.
* No database connection is held while a stream is open. A stream closes within seconds when its key or token is
  revoked, expires, or its workspace is deleted.

Who may import it: `web` and what lies above it. It knows neither `delivery`, the other way to the receivers, nor flask.
`reads` and `tokens` are the rows; all other modules never import the database, which they are given as a
`StreamSource`. import-linter holds both.

How it may be used at once: between greenlets, not between threads. One hub serves a process. Its steps take no lock,
because no step lets another greenlet run in the middle of it; `rounds` refuses to start where threads are real. Nothing
here runs before the first subscriber or announcement, so a process may fork until then. The functions of `reads` and
`tokens` may be called from anywhere, each with a connection of the caller's own.
"""
