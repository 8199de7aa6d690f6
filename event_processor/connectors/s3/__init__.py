"""S3: objects of a bucket as a source.

Owns: options, client, positions and chunks of `type = "s3"`. `client.py` is the one file that imports obstore.
Always: an object is a sealed file: it is identified by its key and ETag, and each range of it is read under that ETag.
Never: writes to the bucket; passes over an object or a part of one without a count that a person sees. Open `source.py` first.
"""
