"""The way to PostgreSQL: connections, tables, weekly partitions, retention, and group commit.

It promises:
  - A transaction ends with its `with` block: committed at its end, rolled back on an exception.
  - No statement takes longer than 30 s and no lock is waited for longer than 10 s, unless a Database or a transaction
    says otherwise. A server that does not even say so is given up two seconds later.
  - A call that shares its run with others (Batcher) is answered within 12 s, whatever the server does.
  - A call (calls.py) is one round trip. A read is sent once more when its connection turns out dead; a write never.
  - One function says whose fault an error is: faults.is_requests_fault.
  - The partitions of the coming four weeks are made ahead, by each release and by the hourly housekeeping.
  - Retention deletes only what is past its time by the database's clock, nothing while the machine's clock is more than
    an hour off, and nothing that a delivery may still need.

It imports core and settings, never flask, Redis or Celery. Modules that hold rows may import it; those that hold
connections to others (app.live.hub, app.delivery.sending and their like) may not.

Make one Database in each process, after the fork. It and a Batcher may be used by any number of threads or greenlets at
once; a Session or Connection belongs to one.
"""
