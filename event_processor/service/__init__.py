"""The process: daemon, signals, systemd, the log.

Owns: how a pipeline is run for days, stopped and reloaded.
Always: a signal ends in a commit or loses nothing.
Never: nothing about a record is decided here. Open `daemon.py` first.
"""
