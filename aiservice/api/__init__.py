"""The doors: HTTP in, the rooms' types down, HTTP out. Nothing below this room knows HTTP.

`routes.py` is the table of every path; there is one file per surface. The hot doors are raw ASGI with msgspec, the
others FastAPI with Pydantic; `edge.py` stands before both: request id, CORS, body bounds and the last error handler.
`auth.py` says who is asking, `errors.py` renders the error tree, `sse.py` frames streams.

A request enters at `Edge`, is authenticated before its body is read, and leaves as JSON or as a stream of events.
A store that is down is a 503 with Retry-After, never a 401.
"""
