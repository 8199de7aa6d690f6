"""The prediction service: `python -m ml_api` listens on port 8000.

Owns: the categories and their rule (`prediction.py`), the requests and answers (`server.py`).
Always: the same transaction gets the same category, in every process.
Never: keeps anything between two requests.
"""
