"""Python: a remote sink that is a class of the user's.

Owns: options and the receiver of `type = "python"`.
Always: whatever the class does, a request has one answer.
Never: sends anything itself. Open `connector.py` first.
"""
