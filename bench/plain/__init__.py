"""What most teams write for events with webhooks and live streams, by a fair and careful hand.

A Flask view with one transaction a request, a Celery task a delivery with `requests` and `retry(countdown=…)`, and
Server-Sent Events from Redis pub/sub with a queue a connection. The same gunicorn, PostgreSQL and Redis as the product.

Careful: keys are hashed, seqs have no holes, what must be indexed is, connections are pooled and kept alive, messages
are sent after the commit and acknowledged late. It does not survive what Twofold does: a task that is lost after the
commit is not found again, a stream cannot be resumed, one hanging endpoint fills every worker, and a webhook may go to
any address.
"""
