"""The documentation: /docs, /openapi.json, /asyncapi.json, /llms.txt. What is served is what is documented.

openapi.py describes the declared routes (refusals.py, schemas.py, examples.py: what they refuse and answer;
webhooks.py: what endpoints are sent), asyncapi.py the streams of the contracts. guides/ holds pages in Markdown;
reference.py makes the others from the OpenAPI document; library.py knows all of them, rendering.py makes HTML of them,
pages.py serves.

It promises that every route is listed with its parameters, bodies, answers and refusals, and that every answer fits its
schema (the tests hold each answer that they get to it). Whatever a caller names has a form and a bound. Schemas of
answers forbid no further members: answers may gain some. Those of requests do.

Only application.py imports it. What it makes is made once for each process and never changed, so any number of requests
may use it at once.
"""
