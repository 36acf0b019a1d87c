"""slicer.app.coreIOManager(): which of Slicer's own readers and writers takes a file."""

from __future__ import annotations

from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore

from .properties import state
from .pythonqt import stand_in

LABEL_MAP, SINGLE_FILE, AUTO_WINDOW = 1, 4, 8
VOLUME_FORMATS = ("NRRD (.nrrd)", "NIFTI (.nii)", "NIFTI (.nii.gz)", "MetaImage (.mha)")
TYPES = {
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".seg.nrrd": "SegmentationFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".mat": "TransformFile",
    ".json": "MarkupsFile",
    ".fcsv": "MarkupsFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".nii": "VolumeFile",
    ".nii.gz": "VolumeFile",
    ".nrrd": "VolumeFile",
    ".nhdr": "VolumeFile",
    ".mha": "VolumeFile",
}
"""File type by the end of a file's name, the longest first."""


@stand_in
class CoreIOManager(QtCore.QObject):
    """Reads and writes by Slicer's module logics and storage nodes."""

    newFileLoaded = QtCore.Signal(object)

    def __init__(self, scene: slicer.vtkMRMLScene, selection: slicer.vtkMRMLApplicationLogic) -> None:
        super().__init__()
        state(self).update(scene=scene, application=selection)

    def fileType(self, path: str) -> str:
        """Type of a file by its name, "NoFile" for an unknown one."""
        ends = sorted(TYPES, key=len, reverse=True)
        return next((TYPES[end] for end in ends if str(path).lower().endswith(end)), "NoFile")

    def loadNodes(
        self,
        file_type: str,
        properties: dict,
        loaded: vtk.vtkCollection | None = None,
        messages: slicer.vtkMRMLMessageCollection | None = None,
    ) -> bool:
        """Read a file into the scene; says whether that went well."""
        path, name = str(properties["fileName"]), properties.get("name")
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        node = _READERS[file_type](path, properties) if Path(path).is_file() else None
        if node is None:
            return False
        if name:
            node.SetName(name)
        if loaded is not None:
            loaded.AddItem(node)
        if node.IsA("vtkMRMLVolumeNode") and properties.get("show", True):
            selection = state(self)["application"].GetSelectionNode()
            is_label_map = node.IsA("vtkMRMLLabelMapVolumeNode")
            (selection.SetActiveLabelVolumeID if is_label_map else selection.SetActiveVolumeID)(node.GetID())
            state(self)["application"].PropagateVolumeSelection()
        return True

    def _load_scene(self, path: str, clear: bool) -> bool:
        scene = state(self)["scene"]
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def fileWriterFileType(self, node: slicer.vtkMRMLNode) -> str:
        """Type of the files that a node is written to."""
        return node.GetClassName()

    def saveNodes(self, file_type: str, properties: dict, messages: object = None) -> bool:
        """Write a node or the scene; says whether that went well."""
        path, scene = str(properties["fileName"]), state(self)["scene"]
        if file_type == "SceneFile":
            if path.endswith(".mrb"):
                return bool(scene.WriteToMRB(path, None, messages))
            return bool(scene.SaveSceneToSlicerDataBundleDirectory(path))
        node = scene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))

    def extractKnownExtension(self, path: str, node: slicer.vtkMRMLNode) -> str:
        """The end of a file's name, as far as a writer knows it."""
        writer = node.CreateDefaultStorageNode()
        writer.UnRegister(None)
        return writer.GetSupportedFileExtension(str(path))

    def fileWriterExtensions(self, node: slicer.vtkMRMLNode) -> tuple[str, ...]:
        """What a node can be written as, such as "NRRD (.nrrd)"."""
        writer = node.CreateDefaultStorageNode()
        writer.UnRegister(None)
        types = writer.GetSupportedWriteFileTypes()
        # The storage of volumes does not tell; Slicer's writer of volumes does.
        return tuple(types.GetValue(index) for index in range(types.GetNumberOfValues())) or VOLUME_FORMATS

    def exportNodes(
        self, node_ids: list[str], paths: list[str], properties: dict, harden: bool, messages: object = None
    ) -> bool:
        """Write nodes without changing their storage; with harden, as they lie in the world."""
        results = []
        for node_id, path in zip(node_ids, paths, strict=True):
            node = state(self)["scene"].GetNodeByID(node_id)
            scene = slicer.vtkMRMLScene()
            copy = scene.AddNewNodeByClass(node.GetClassName(), node.GetName())
            copy.CopyContent(node)
            if harden and node.GetParentTransformNode() is not None:
                world = vtk.vtkGeneralTransform()
                node.GetParentTransformNode().GetTransformToWorld(world)
                copy.ApplyTransform(world)
            writer = copy.CreateDefaultStorageNode()
            writer.UnRegister(None)
            writer.SetFileName(str(path))
            writer.SetUseCompression(bool(properties.get("useCompression", True)))
            results.append(bool(writer.WriteData(copy)))
        return all(results)


def _logic(name: str) -> vtk.vtkObject:
    return getattr(slicer.modules, name).logic()


def _volume(path: str, properties: dict) -> slicer.vtkMRMLNode | None:
    options = LABEL_MAP * bool(properties.get("labelmap")) + SINGLE_FILE * bool(properties.get("singleFile"))
    name = properties.get("name") or Path(path).name.partition(".")[0]
    return _logic("volumes").AddArchetypeVolume(path, name, options + AUTO_WINDOW)


def _markups(path: str, properties: dict) -> slicer.vtkMRMLNode | None:
    node_id = _logic("markups").LoadMarkups(path, properties.get("name"))
    return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None


_READERS = {
    "VolumeFile": _volume,
    "TransformFile": lambda path, properties: _logic("transforms").AddTransform(path, slicer.mrmlScene),
    "SegmentationFile": lambda path, properties: _logic("segmentations").LoadSegmentationFromFile(path),
    "TableFile": lambda path, properties: _logic("tables").AddTable(path),
    "MarkupsFile": _markups,
}
