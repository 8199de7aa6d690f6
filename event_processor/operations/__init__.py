"""The operations on a state: verify, replay, explain, status, process, dead letters, reset.

Owns: each operation as a function for a command or another program.
Always: an operation that only reads needs no lock and changes nothing.
Never: prints. Open `state_access.py` first.
"""
