"""Turns released events and rows into the bytes of a sink's file.

Owns: JSON Lines, JSON arrays, CSV and Parquet as outputs.
Always: the same events give the same bytes.
Never: nothing is opened or synced here (`connectors/files/`). Open `outputs.py` first.
"""
