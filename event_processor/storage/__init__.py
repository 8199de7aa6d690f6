"""The file system as we need it, and the few ways to make bytes durable. Only this room writes state.

Owns: every call that changes the disk; append files, replaced files, immutable files, the lock.
Always: a failed call becomes a `StorageError` that names the call and the file.
Never: interprets the bytes. Open `durable.py` first.
"""
