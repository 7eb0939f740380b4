"""The operator console: pages for the people who keep Twofold running, across all workspaces.

Rule: a page is declared by visit.page, which says who may see it; the guard does the rest: session, role, form token,
errors as pages, headers. A page reads by visit.read(), which has connections of its own and cannot write; what it does,
it does by the same functions as the API, in visit.act(), with an entry in the audit log.
It promises:
  - A viewer changes nothing. Nobody without a session sees anything but the sign-in page.
  - No script and no style but our files; nothing that came with a request is written into a page unescaped.
  - A question of a page is bounded, in rows and in seconds, and takes nothing from accepting or delivering events.

visit.py       how a page is declared, and what its handler is given
forms.py       form tokens, and the cookies that they belong to
answers.py     pages, redirects and error pages, with their headers
sign_in.py     in and out
overview.py    what fails now; figures.py counts, charts.py draws
log.py         the delivery log and a delivery; live.py what comes while one looks; queries.py the addresses' filters
feed.py        a customer's feed, consumers.py who keeps a place in it; lanes.py what stands still in order
connections.py who watches live, and ending that
bulk.py        attempting again what failed, as far as filters let it in
events.py endpoints.py endpoint_forms.py streams.py workspaces.py keys.py people.py   one file a noun
words.py       numbers and times in words
"""
