"""The file system as we need it, and the few ways in which bytes become durable.

Owns: every call that changes the disk; append files, replaced files, immutable files, the lock.
Always: a failed call becomes a `StorageError` that names the call and the file.
Never: nothing here knows what the bytes mean. Open `durable.py` first.
"""
