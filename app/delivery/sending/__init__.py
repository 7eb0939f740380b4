"""The only HTTP that leaves the product: POSTs of webhooks to addresses that strangers registered.

Import `Request`, `Result` and `Sender` from `sender.py`; everything else is for this package. The drain and the
worker's `make_drain` do; nothing else sends. This package knows neither the database nor Redis, Celery and Flask: what
it needs is passed in.

What it promises, whatever a receiver, a name server or an intermediary does:

* **An attempt is one request.** A `Result` says what became of it. libcurl would silently send again what went over a
  connection that was closed, or over an HTTP/2 stream that was refused; that is stopped, and `Result.again` asks for
  another attempt in its own right (transfer.py).
* **An attempt gets its own answer.** What waits in a connection before a request is sent makes it unfit, and what the
  TLS library had read before is found when it is taken for an answer (connections.py). Only an answer that arrives
  between the request and its own answer cannot be told from it.
* **A complete head decides.** The status counts as soon as the head is complete, whatever happens to the body, which
  has two seconds (answer.py, verdict.py).
* **Nobody takes more than a little.** Every attempt ends within its total time, keeps 16 KiB of a body, and receives
  some 200 KiB at most, framing and padding included. On systems other than Linux the time alone is the limit.
* **No socket is opened to an address that is not allowed**, whatever a name resolves to, however often it changes
  (guard.py). Who registered an internal name learns what kind of address it has, and never which.
* **Nothing leads elsewhere**: no redirects, no proxies from the environment, no cookies; TLS is always verified.
* **Nobody waits for somebody else's receiver or name server** (resolver.py, waiter.py).

A `Sender` belongs to one process and to one thread: libcurl's handles survive no fork. Only names are looked up in
other threads. Nothing here waits, except `Sender.poll`.
"""
