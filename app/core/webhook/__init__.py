"""The rules of webhooks, without any I/O: when to try again, who is served first, what is signed, where it may go.

* `retry`: what becomes of a delivery after an attempt, and when the next one is made; Retry-After is honoured here.
* `fairness`: which places a drain has, and what it knows of its endpoints; `shares`: how the free ones are divided.
* `rate_limit`: how fast an endpoint is sent to.
* `signing`: Standard Webhooks signatures, made and verified.
* `addresses`, `headers`: which URLs, addresses and extra headers an endpoint may have.

Pure, like all of `app.core`: the time, random numbers, secrets and settings are arguments and the answer is a value, so
every rule is tested as a table of cases. What is wrong with somebody's URL, headers or schedule is answered as a list
of phrases, not raised. No text that is answered or raised holds a secret.

Imports the standard library, cryptography and `app.core`; any other folder may import it. All of it may be called from
any thread, greenlet or process at once, but for a `fairness.Slots`, which is the state of one drain and belongs to that
drain's thread.
"""
