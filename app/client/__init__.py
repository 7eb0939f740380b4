"""What consumers of Twofold import: the stream client, the webhook verifier, and the book-keeper of a run.

The book-keeper shares no code with the server, so that a fault there cannot excuse itself here.
"""
