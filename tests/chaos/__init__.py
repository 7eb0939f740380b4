"""`make chaos`: a running product is killed, frozen and cut; a book-keeper outside says what became of every event."""
