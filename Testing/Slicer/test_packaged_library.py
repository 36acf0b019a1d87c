"""The library as the extension ships it: runs with `unittest` inside Slicer and under pytest outside."""

import re
import unittest


class PackagedLibraryTest(unittest.TestCase):
    def test_library_is_found(self):
        import MMLNRegistrationLib

        assert re.fullmatch(r"\d+\.\d+\.\d+", MMLNRegistrationLib.__version__)

    def test_geometry_needs_numpy_only(self):
        import numpy as np

        from MMLNRegistrationLib.spatial.geometry import Geometry, transform_points

        ras_from_ijk = np.array([[0, 0, 2.0, 5], [1.5, 0, 0, -7], [0, 3.0, 0, 1], [0, 0, 0, 1]])
        geometry = Geometry((4, 5, 6), ras_from_ijk)
        np.testing.assert_allclose(transform_points(geometry.ras_from_ijk, np.array([1.0, 1, 1])), [7, -5.5, 4])
        np.testing.assert_allclose(geometry.spacing_mm, [1.5, 3.0, 2.0])
