"""HTTP: a remote sink that sends records in requests.

Owns: options, bodies and the receiver of `type = "http"`, and the one client for a service.
Always: a request is sent once; the lane decides whether it is sent again. An answer's words repeat no secret and no value we sent.
Never: follows a redirect, keeps a cookie, or reads a proxy from the environment. Open `connector.py` first, then `client.py`.
"""
