"""Work in a process of its own: what is asked for and answered, the worker that does it, and the client that starts it.

What a client needs (messages, protocol, private_folder, local) imports the standard library alone; torch is loaded in
the worker.
"""
