"""What can be asked of a state: verify, replay, explain, status, process, dead letters, reset.

Owns: each operation as a function that a command, or a program, calls.
Always: an operation that only looks needs no lock and changes nothing.
Never: nothing is printed here. Open `state_access.py` first.
"""
