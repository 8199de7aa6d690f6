"""The HTTP server of a running daemon: health, the committed state as JSON, metrics, the page, posted events.

Owns: connections and their limits, the guard, the answers. The only room that imports the extra `http`'s server.
Always: an answer comes from committed files, read in this server's own threads. A slow or hostile client costs a bounded time and memory.
Never: delays a commit; touches an object of the loop, except what `OpenIntake` names. Open `server.py` first, then `application.py`.
"""
