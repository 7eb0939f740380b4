"""The bytes on the wire: envelope, JSON text, bus entries, server-sent events and WebSocket frames, made and read.

`envelope` is the one form of an event that webhooks, streams and the bus share. `json_text` reads what producers send,
strictly, and keeps its spelling. `bus_entry` is an announcement in Redis. `sse` and `websocket` frame what the server
sends; what WebSocket clients send is read by `live.websocket_input`, which keeps state.

What it promises:

* `data` arrives as it was posted, byte for byte, but for white space outside strings.
* A frame is one line of JSON after `data:`, with LF only. No text of a producer can end a frame or begin another.
* Text of any form and depth is read in linear time and without deep recursion, or refused.

Who may import it: everybody. It imports the standard library and `core.problem`.

How it may be used at once: freely. Every function is pure.
"""
