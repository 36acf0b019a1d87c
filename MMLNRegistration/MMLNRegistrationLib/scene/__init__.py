"""The bridge to the MRML scene of 3D Slicer, the only part that knows it.

Its modules import slicer and vtk; nothing else of the package does, and nothing imports them at package import.
They take the scene as an argument, so that they work the same in the application and on the slicer-core wheel.

Whatever enters is taken in world coordinates (linear parent transforms are folded in), and every node
that is created lies directly in the world.
"""
