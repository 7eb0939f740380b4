"""The only HTTP out: sends webhooks, many at a time, each to an address that is allowed and within hard limits.

It promises:
  - Every address is judged when its socket is opened, whatever its name resolved to.
  - Each request ends within its deadline, and takes a bounded amount of memory.
  - No redirects, no proxies from the environment, no cookies; TLS is always verified.

Only delivery and what starts its processes import it. A Sender belongs to one process and one thread: make it after a
fork. It knows neither the database nor what a delivery is.

sender.py    requests in, results out
transfer.py  one POST: a handle of libcurl, what it may do and what it heard
resolver.py  looks names up, in threads of which no workspace can take all
"""
