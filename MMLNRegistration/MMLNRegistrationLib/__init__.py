"""Deformable brain registration with one trusted displacement field.

The contract, for fixed F, moving M and the delivered displacement u, in millimetres on F's own grid:

    M(x + u(x)) ~ F(x)   for every physical point x of F's grid.

u is the whole map, initial affine included. In Slicer it is the *from-parent* transform.

Frames, units and order, stated once for the whole package:

| name  | meaning |
|-------|---------|
| `ijk` | voxel index of a volume, i fastest (SimpleITK and VTK order) |
| `kji` | the same index in numpy and tensor order: arrays are (K, J, I), tensors (B, C, K, J, I) |
| `net` | voxel index (i, j, k) on the network grid: 1 mm isotropic, axes along R, A, S |
| `ras` | millimetres in the world of Slicer; `lps` exists only where files are read and written |

Matrices are float64, 4x4, for column vectors, and carry both frames in their names, so that a chain can be
checked by reading it: `net_from_ras @ ras_from_ijk`. Velocities and displacements inside the network are
in voxels of the grid they live on, with channels in k, j, i order. A displacement on a volume's grid that
leaves the pipeline is (K, J, I, 3), in millimetres, components R, A, S.
"""

__version__ = "0.1.0"
