"""Serves everything over HTTP, and is the only folder that knows flask.

Importing it imports nothing: the web server's master takes serving.py from here before its workers exist.
"""
