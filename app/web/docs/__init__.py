"""/openapi.json and /docs, made from the declared routes: what is served is what is documented.

It promises that every route is listed with its parameters, bodies and answers, and that every answer fits its schema
(the tests hold each answer that they get to it). Schemas forbid no further members: answers may gain some.

Only application.py imports it. It reads declarations and keeps no state, so any number of requests may use it at once.
"""
