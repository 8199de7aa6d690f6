"""Jobs: finished input that a client names or uploads, processed by a pipeline of a folder, in a process of its own.

Owns: what is kept of a job, uploads, the queue, and the processes of the jobs that run.
Always: what was answered survives a restart. A job ends once, and its rows are those of a run that was never disturbed.
Never: reads a record (the process of a job does: `event-processor process --state`). Open `jobs.py` first.
"""
