"""Geometry and field arithmetic: grids, warping, velocities, Jacobians, folding."""
