"""What people see in a browser: pages, and the scripts and styles that they load.

live.py is the page that shows a stream as it happens; files.py serves static/; templates/ holds the pages, also that of
/docs.

It promises that pages need no key and hold nobody's data: a page reads its token from its own address or from whoever
pastes it, and asks the API as any other client does. Scripts come from static/ only (Content-Security-Policy); nothing
that came with a request is written into a page.

Only application.py imports it. It keeps no state.
"""
