"""The customer portal: pages for the people of one workspace, who come by a link that its operator made.

Rule: a page is declared by visit.portal_page, which says what the link must allow; the guard does the rest: session,
scope, form token, errors as pages, headers. It promises:
  - A guest sees one workspace. What belongs to another is answered exactly like what does not exist.
  - No address of ours is shown: neither those of an attempt's errors nor those that names of the customer resolve to.
  - What a guest does goes through the same functions as the API, with an entry in the audit log under the link's id.
  - The log and its timeline are the console's (templates/log, pages/timeline.py): there is no second copy.

visit.py      how a page is declared, and what its handler is given
entrance.py   from the link to the session, and out
cookie.py     the session's cookie, in a frame of another site too
endpoints.py  list, form, one endpoint with what can be done to it; pages/endpoint_form.py and pages/trial.py are shared
log.py        the delivery log, a delivery, both live
streams.py    streams live, where the link allows it
feed.py       everything of the workspace in one order, where the link allows it; lanes.py what stands still in order
types.py      the catalogue of event types
colours.py    the operator's colour, legible in light and dark
"""
