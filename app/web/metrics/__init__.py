"""/metrics: what the web processes of this server have done, and how the deliveries of all workers are doing.

requests.py counts requests, streams.py what hub, ledger, bus and schemas do, processes.py what the processes take; they
are shown for all web processes of a server together. deliveries.py reads PostgreSQL and Redis, so every web process
anywhere shows the same.

It promises that labels are few and hold no ids, paths or queries; that a PostgreSQL or Redis that cannot be reached
takes away its own metrics only; and that each process asks them every five seconds at most. docs/operations.md lists
every metric.

engine.py, application.py and probes.py import it. Counting is safe from any number of threads and greenlets.
"""
