"""Pure decisions: no I/O, clock, randomness or environment; every input is an argument."""
