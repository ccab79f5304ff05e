"""The processes: one supervisor, its workers, and the embedded engine's child.

Promises: the port is bound before anything heavy is loaded; a worker that dies is replaced at once, the embedded
engine too, and after 5 deaths in 60 s in one worker's place with growing pauses of at most 30 s, said in the log; a
stop lets open answers end (30 s, after a second signal 5 s) and exits with 0; no process outlives the supervisor,
however it dies. A data folder has one supervisor at a time. SIGHUP is not handled and ends it at once: a new version
is started by stopping the old one with SIGTERM.

Flow enters through `launch` with the settings; it leaves through the ASGI application that each worker runs. The
module with the application is named, not imported, because prometheus_client has to find its folder first.
"""

from aiservice.server.launch import launch

__all__ = ["launch"]
