"""The web processes: routes, streams and pages over HTTP. The only folder that knows flask."""
