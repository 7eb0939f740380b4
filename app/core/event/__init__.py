"""An event before it is stored: how it is spelled, read, accepted and matched with endpoints.

An event's way: names (what may be called what), drafts (posted bytes become a checked draft), own_streams (what Twofold
itself tells), acceptance (under its stream's lock it becomes the next event, a repeat, or is refused), filters (which
endpoints want it).

It promises:
  - A name that passes `names` can stand in an SSE line, a URL and a header as it is.
  - A draft's payload keeps the producer's spelling: key order, big integers, escapes.
  - Accepted events of a stream are numbered without a gap. A refused event changes nothing, for itself and for others.

Pure, as all of app.core. Everybody may import it. An Acceptance belongs to one transaction and is not shared; the rest
may be used by any number of callers at once.
"""
