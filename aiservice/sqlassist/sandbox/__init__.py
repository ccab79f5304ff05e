"""The processes in which SQL assist works: a pool that the supervisor starts, and its children.

The pool takes requests of all workers on one unix socket, hands each to a child of its own, and kills the child when
the request's deadline is over or its client has left. A child has one request at a time, may write no file, has little
memory and few descriptors, and dies with the pool, as the pool dies with the supervisor. A child that died is replaced.
"""
