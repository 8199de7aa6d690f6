"""Aggregates over windows of time.

Owns: the grid of windows, the entries they hold, their rows, and how open windows survive a restart.
Always: a window closes by the events' timestamps, never by the clock.
Never: writes to disk. Open `windows.py` first.
"""
