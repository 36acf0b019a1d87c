"""Bridge to the MRML scene of Slicer: the only package that knows MRML nodes."""
