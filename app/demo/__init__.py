"""`make demo`: plays recordings through the running product and checks that everything arrives.

Rule: it knows the product only from outside, over HTTP, and reads what arrives with clients and a verifier that others
wrote, so that a fault of ours cannot excuse itself. It needs the `dev` packages and the checkout's examples/.
It promises: exit status 0 only if every posted event was acknowledged, shown on every view that is to show it, and
delivered with a valid signature, each with the bytes that were posted. What it made at the product is removed again.
Who may import it: nobody but the tests. Of the project it imports `client` and `project` alone. A run has one thread
for the producer, one for each viewer and those of the receiver; the book-keeper is what they share.

plan.py         recordings, plays and views, read from examples/
run.py          one run: producer.py posts, viewer.py and readers.py watch, receiver.py takes the webhooks
report.py       what is shown
product.py      where the product is, and how it is asked
"""
