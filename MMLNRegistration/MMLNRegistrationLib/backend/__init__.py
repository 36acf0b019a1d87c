"""Work in a process of its own: what is asked for and answered, the worker that does it, and the client that starts it.

What a client of either road needs (local; remote, errand, server_connection) imports the standard library alone; torch
is loaded in the worker, and the package server needs the extra of that name.
"""
