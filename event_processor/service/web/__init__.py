"""The HTTP server of a running daemon: health, the committed state as JSON, metrics.

Owns: connections and their limits, the guard, the answers. The only room that imports the extra `http`'s server.
Always: an answer comes from committed files, read in this server's own threads. A slow or hostile client costs a bounded time and memory.
Never: touches an object of the loop, or delays a commit. Open `server.py` first, then `application.py`.
"""
