"""What people see in a browser: pages, and the scripts and styles that they load.

front.py is the front page; live.py the page that shows a stream as it happens; console/ the operators' pages and
portal/ their customers', which have rules of their own; timeline.py what both show of a delivery; files.py serves
static/; templates/ holds the pages, also that of /docs.

It promises that pages outside console and portal need no key and hold nobody's data: the live page reads its token from
its own address or from whoever pastes it, and asks the API as any other client does. Scripts come from static/ only
(Content-Security-Policy); nothing that came with a request is written into a page unescaped.

Only application.py imports it. It keeps no state.
"""
