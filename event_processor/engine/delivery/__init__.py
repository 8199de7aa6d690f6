"""Delivery: lanes that read the outbox and send its records to remote sinks.

Owns: the limiter, retries, cursors, lanes, and failed records.
Always: a cursor moves only over a contiguous prefix of answered records, and is never trusted without its chain.
Never: knows a technology (connectors do). Open `lane.py` first, then `stage.py`.
"""
