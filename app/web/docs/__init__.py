"""/openapi.json and /docs, made from the declared routes: what is served is what is documented.

It promises that every route is listed with its parameters, bodies, answers and refusals, and that every answer fits its
schema (the tests hold each answer that they get to it). Whatever a caller names has a form and a bound. Schemas of
answers forbid no further members: answers may gain some. Those of requests do.

Only application.py imports it. It reads declarations and keeps no state, so any number of requests may use it at once.
"""
