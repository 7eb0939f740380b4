"""How a route is declared, guarded, read and answered.

routes.py declares: who may call, what is read, and so the documentation. call.py is what a handler gets and gives;
reading.py, fields.py and paging.py read a request strictly; shapes.py describes what they read as JSON Schema;
turns.py has large bodies wait for each other; repeats.py does a repeated POST once; problems.py answers errors;
cookie.py knows who comes with a session cookie.

It promises:
  - There is no other way to make a route, so no route is left without a guard.
  - The order of refusals is the same everywhere: key, scope, workspace, id, query, body.
  - Every refusal names each wrong field and says what to give instead. Unknown fields and parameters are refused.
  - What a caller sends is bounded before it is parsed: the length of a body, the depth of its JSON.

web/api, web/live, web/docs and web/pages may import it. It keeps no state between requests.
"""
