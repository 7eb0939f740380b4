"""The books of a run: what was acknowledged, what every viewer saw, what every receiver got, and what is wrong with it.

Rule: the book-keeper knows the product only from outside; it reads envelopes and compares bytes with code of its own.
Promises: an empty list of findings means that invariants I1 to I4 (audit.py) hold for everything written down.
Who may import it: the demo, the tests, and anybody who wants to check a run of theirs. Every method of the book-keeper
may be called from any thread; audit.py and count.py are pure functions over its records.
"""
