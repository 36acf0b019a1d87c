"""The worker behind HTTP, for a machine with a GPU that several people share. Needs the extra `server`.

All that the jobs share is kept in one thread, that of the event loop (board); each device has a thread of its own that
drives a worker (lane). docs/server.md has the interface; torch is loaded in the workers alone.
"""
