"""Every statement of a trial on the rows of deliveries: when they are due, who has them, how they ended.

Elsewhere a trial knows the product from outside. Here it depends on the tables, because 24 hours do not pass in a
minute, and because locks are on rows. Who changes the tables changes this file, and nothing else of the trials.
"""

from __future__ import annotations

# Lock what one endpoint is waiting for: its outcomes cannot be recorded, and it cannot be claimed.
LOCK_PENDING = "SELECT FROM deliveries WHERE endpoint_id = %s AND status = 'pending' FOR UPDATE"

# How an endpoint's deliveries have ended, once they have.
ENDED = "SELECT status, reason FROM deliveries WHERE endpoint_id = %s AND status <> 'pending'"

# The time until the last pending delivery is due, and whether all of them wait for that and none is being sent.
UNTIL_LAST_DUE = """
SELECT max(due_at) - now(), bool_and(due_at > now() + interval '1 second' AND lease_token IS NULL) FROM due
"""

# Let time pass for pending deliveries.
LET_PASS = """
WITH moved AS (
  UPDATE deliveries SET window_started_at = window_started_at - %(span)s, deadline_at = deadline_at - %(span)s
  WHERE status = 'pending'
)
UPDATE due SET due_at = due_at - %(span)s, window_started_at = window_started_at - %(span)s,
  deadline_at = deadline_at - %(span)s
"""

# How many deliveries have not ended.
COUNT_PENDING = "SELECT count(*) FROM deliveries WHERE status = 'pending'"

# Deliveries of an endpoint since some time (seconds of the epoch) that had another number of attempts.
OTHER_ATTEMPTS = """
SELECT id, attempt_count, status FROM deliveries
WHERE endpoint_id = %s AND attempt_count <> %s AND created_at >= to_timestamp(%s) LIMIT 5
"""
