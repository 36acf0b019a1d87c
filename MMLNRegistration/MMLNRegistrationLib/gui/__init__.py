"""The four panels of the Slicer module. With the module's file the only part that knows Slicer's Qt.

A panel shows, asks and calls; what can be done without a window is done in scene and backend. Nothing here waits:
the worker's answers and what threads have read arrive through the timer of the session.

Torch may be missing in the process of the application, so nothing here imports it, at file scope or later.
"""
