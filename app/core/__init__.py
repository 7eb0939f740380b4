"""The rules of the product as pure functions: what becomes of an event, a webhook, a contract, a frame.

Nothing here does I/O, reads a clock, draws random numbers or looks at the environment. The time, the random bytes and
the rows that were read are arguments; decisions are return values. So every rule can be tested without a database.

It promises:
  - Equal arguments give equal results. Values are immutable, except where a docstring says that they are filled step by
    step (event.acceptance.Acceptance).
  - What a caller did wrong is refused with a Problem, which says what is wrong and what to do.

It imports the standard library and cryptography only. Everybody may import it, and use it from any number of threads
and greenlets at once.

event/     an event before it is stored: spelled, read, accepted, matched with endpoints
wire/      bytes: the envelope, JSON text, SSE, WebSocket frames
contract/  how a kind of stream is shown: the model, its frames, reading and checking its file
webhook/   retry schedule, fairness, signing, addresses, headers
"""
