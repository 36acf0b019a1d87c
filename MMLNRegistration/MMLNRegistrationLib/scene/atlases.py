"""What is drawn on atlases, label maps or segmentations, as one number a voxel for the worker, and what it stands for.

A structure has the same number in all atlases: label maps agree by their label values, all else by name. Where segments
of a segmentation overlap, the overlap gets a number of its own, so that nothing is lost on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from ..errors import InputError
from ..quality.colours import label_colour
from ..spatial.geometry import Geometry, transform_points, translation_matrix
from .parents import world_from_node
from .segments import LABELMAP, labelmaps
from .volume_files import VolumeFile, has_right_angles
from .volumes import geometry_of_node, scalars_of_node

Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Structure:
    """A structure's name and colour; metadata: a segment without voxels that has its tags too, where it was one."""

    name: str
    colour: Colour
    metadata: slicer.vtkSegment | None = None
    segment_id: str = ""


class Codes:
    """The numbers of structures and of their overlaps, shared by the atlases of one propagation."""

    def __init__(self) -> None:
        self.structures: dict[int, Structure] = {}
        self._overlaps: dict[frozenset[int], int] = {}
        self._of_name: dict[tuple[str, int], int] = {}
        self._of_label: dict[int, int] = {}

    def of_segment(self, structure: Structure, occurrence: int) -> int:
        """The number of a segment. occurrence: how many of its segmentation have had the same name before it."""
        key = (structure.name.strip().casefold(), occurrence)
        if key not in self._of_name:
            self._of_name[key] = self._new(structure)
        return self._of_name[key]

    def of_label(self, label: int, known: Mapping[int, Structure]) -> int:
        """The number of a label of a label map. known: the labels that have names."""
        if label not in self._of_label:
            if label in known:
                number = self.of_segment(known[label], 0)
                if number in self._of_label.values():  # another label of the same name
                    number = self._new(known[label])
            else:
                number = self._new(Structure(f"Label {label}", label_colour(label)))
            self._of_label[label] = number
        return self._of_label[label]

    def of_overlap(self, first: int, second: int) -> int:
        """The number of what belongs to the structures of both numbers."""
        members = self.members(first) | self.members(second)
        if len(members) == 1:
            return next(iter(members))
        if members not in self._overlaps:
            self._overlaps[members] = self._next()
        return self._overlaps[members]

    def members(self, number: int) -> frozenset[int]:
        """The structures that a number stands for: one, or several that overlap; none for 0."""
        if number in self.structures:
            return frozenset((number,))
        return next((members for members, own in self._overlaps.items() if own == number), frozenset())

    @property
    def overlaps(self) -> Mapping[int, frozenset[int]]:
        """The overlaps by their numbers."""
        return {number: members for members, number in self._overlaps.items()}

    def names(self) -> dict[int, str]:
        """What to call each number."""
        names = {number: structure.name for number, structure in self.structures.items()}
        for number, members in self.overlaps.items():
            names[number] = " and ".join(self.structures[member].name for member in sorted(members))
        return names

    def _new(self, structure: Structure) -> int:
        number = self._next()
        self.structures[number] = structure
        return number

    def _next(self) -> int:
        return len(self.structures) + len(self._overlaps) + 1


@dataclass(frozen=True, eq=False)
class Layer:
    """Voxels (K, J, I), a view, on a grid of the world. numbers: of their labels; None for a label map's, which are
    found when it is written."""

    labels_kji: NDArray
    geometry: Geometry
    numbers: Mapping[int, int] | None


@dataclass(frozen=True, eq=False)
class AtlasLabels:
    """What is drawn on an atlas, for its image as that is written. known: named labels of a label map."""

    name: str
    layers: tuple[Layer, ...]
    image: VolumeFile
    codes: Codes
    known: Mapping[int, Structure]

    def write(self, path: Path) -> None:
        """Write it, and number what has no number yet. Any thread may do it, but one at a time for the same codes.

        Raises InputError for labels that are no whole numbers from 0 up, and OSError when the disk is full.
        """
        numbers_kji, geometry = self.numbered()
        own = Geometry(geometry.shape_kji, np.linalg.inv(self.image.world_from_file) @ geometry.ras_from_ijk)
        VolumeFile(numbers_kji, own, self.image.world_from_file).write(path)

    def numbered(self) -> tuple[NDArray[np.uint16], Geometry]:
        """The numbers (K, J, I) and their grid in the world: that of the first layer, extended to hold the others."""
        geometry = _common_geometry(self.layers)
        merged = np.zeros(geometry.shape_kji, np.uint16)
        for layer in self.layers:
            numbers = layer.numbers
            if numbers is None:
                numbers = {label: self.codes.of_label(label, self.known) for label in self._labels_in(layer)}
            layer_from_ijk = layer.geometry.ijk_from_ras @ geometry.ras_from_ijk
            is_same = layer.geometry.matches(geometry)
            for k in range(geometry.shape_kji[0]):
                found = layer.labels_kji[k] if is_same else _plane(layer, layer_from_ijk, k, merged.shape)
                self._merge(merged[k], _renumbered(found, numbers))
        return merged, geometry

    def _merge(self, below: NDArray[np.uint16], above: NDArray[np.uint16]) -> None:
        """Add a plane's numbers, in place; where there are some already both count."""
        both = (below > 0) & (above > 0)
        if both.any():
            pairs, place = np.unique(below[both].astype(np.int64) << 16 | above[both], return_inverse=True)
            codes = [self.codes.of_overlap(int(pair) >> 16, int(pair) & 0xFFFF) for pair in pairs]
            below[both] = np.array(codes, np.uint16)[place.reshape(-1)]
        np.copyto(below, above, where=below == 0)

    def _labels_in(self, layer: Layer) -> list[int]:
        labels: set[float] = set()
        for plane in layer.labels_kji:
            labels.update(np.unique(plane).tolist())
        if any(label < 0 or label != int(label) for label in labels):
            raise InputError(f"{self.name} holds fractional or negative values; choose a label map or a segmentation.")
        if len(labels) > 2**15:
            raise InputError(f"{self.name} holds {len(labels)} labels, as an image does; choose a label map.")
        return sorted(int(label) for label in labels if label)


def atlas_labels(node: slicer.vtkMRMLDisplayableNode, image: VolumeFile, codes: Codes) -> AtlasLabels:
    """What there is to write of a segmentation, a label map or a scalar volume that holds one; nothing is copied.

    Raises InputError when it has no voxels or segments, lies under a non-linear transform, or has no right angles in
    the file of its image.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        layers, known = _segment_layers(node, image, codes), {}
    else:
        layers, known = (Layer(scalars_of_node(node), geometry_of_node(node), None),), _named_labels(node)
    for layer in layers:
        own = np.linalg.inv(image.world_from_file) @ layer.geometry.ras_from_ijk
        if not has_right_angles(Geometry(layer.geometry.shape_kji, own)):
            raise InputError(f"{node.GetName()} has no right angles where its transform puts it; harden the transform.")
    return AtlasLabels(node.GetName(), layers, image, codes, known)


def _segment_layers(node: slicer.vtkMRMLSegmentationNode, image: VolumeFile, codes: Codes) -> tuple[Layer, ...]:
    segmentation, layers = labelmaps(node, world_from_node(node), image.world_from_ijk)
    numbers: list[dict[int, int]] = [{} for _ in range(segmentation.GetNumberOfLayers(LABELMAP))]
    names: list[str] = []
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(segment_id)
        metadata = slicer.vtkSegment()
        metadata.DeepCopyMetadata(segment)
        structure = Structure(segment.GetName(), segment.GetColor(), metadata, segment_id)
        name = segment.GetName().strip().casefold()
        number = codes.of_segment(structure, names.count(name))
        names.append(name)
        numbers[segmentation.GetLayerIndex(segment_id, LABELMAP)][segment.GetLabelValue()] = number
    return tuple(Layer(voxels, grid, numbers[index]) for index, (voxels, grid) in layers.items())


def _named_labels(node: slicer.vtkMRMLVolumeNode) -> dict[int, Structure]:
    """The labels to which a volume's colour table gives names. One that only counts gives none."""
    display = node.GetDisplayNode()
    colours = display.GetColorNode() if display is not None else None
    if colours is None or not node.IsA("vtkMRMLLabelMapVolumeNode"):
        return {}
    known = {}
    for label in range(1, colours.GetNumberOfColors()):
        name = colours.GetColorName(label)
        if colours.GetColorDefined(label) and name and not name.isdigit():
            colour = [0.0] * 4
            colours.GetColor(label, colour)
            known[label] = Structure(name, (colour[0], colour[1], colour[2]))
    return known


def _common_geometry(layers: tuple[Layer, ...]) -> Geometry:
    """The grid of the first layer, extended by whole voxels until the others are inside."""
    first = layers[0].geometry
    corners_ijk = np.concatenate([transform_points(first.ijk_from_ras, layer.geometry.corners_ras) for layer in layers])
    lower, upper = np.floor(corners_ijk.min(axis=0) + 1e-3), np.ceil(corners_ijk.max(axis=0) - 1e-3)
    shape_kji = tuple(int(size) for size in (upper - lower + 1)[::-1])
    return Geometry(shape_kji, first.ras_from_ijk @ translation_matrix(lower))  # type: ignore[arg-type]


def _plane(layer: Layer, layer_from_ijk: NDArray[np.float64], k: int, shape_kji: tuple[int, ...]) -> NDArray:
    """The layer's labels at plane k of another grid, nearest voxel, 0 outside."""
    _, size_j, size_i = shape_kji
    index_ijk = np.stack(np.meshgrid(np.arange(size_i), np.arange(size_j), indexing="xy"), axis=-1)
    points = np.concatenate((index_ijk, np.full((size_j, size_i, 1), k)), axis=-1)
    place_kji = np.rint(transform_points(layer_from_ijk, points)).astype(np.intp)[..., ::-1]
    last_kji = np.array(layer.labels_kji.shape) - 1
    is_there = ((place_kji >= 0) & (place_kji <= last_kji)).all(axis=-1)
    found = layer.labels_kji[tuple(np.moveaxis(np.clip(place_kji, 0, last_kji), -1, 0))]
    return np.where(is_there, found, 0)


def _renumbered(labels: NDArray, numbers: Mapping[int, int]) -> NDArray[np.uint16]:
    """The numbers of labels; 0 for those without."""
    known = np.array(sorted(numbers))
    if not known.size:
        return np.zeros(labels.shape, np.uint16)
    place = np.searchsorted(known, labels).clip(max=known.size - 1)
    own = np.array([numbers[label] for label in known.tolist()], np.uint16)
    return np.where(known[place] == labels, own[place], 0).astype(np.uint16)
