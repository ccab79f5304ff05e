"""NexusAI: apps by conversation.

What a model writes is never trusted to be whole or well formed. A reply is read into operations, the same ones however
the stream was cut; an operation changes a file only when its place is certain, its path stays inside the project and
nothing of the file was left out. What fails one of these is refused with a reason that can be said to the model, and
the files stay as they were.

`protocol` is pure: text in, operations and reasons out. It has no backend that can fail and keeps nothing.
"""
