"""The arithmetic of the feed: snapshots, cursors, and what lies between two ticks. Pure; anyone may import it."""
