"""As much of ``kubectl kustomize`` as the manifests use; whatever else a kustomization says is refused, not passed over."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

KNOWN_FIELDS = {"apiVersion", "kind", "namespace", "resources", "images", "patches", "configMapGenerator"}
KNOWN_FIELDS |= {"generatorOptions"}
CLUSTER_WIDE = {"Namespace"}


def build(folder: Path) -> list[Manifest]:
    """The manifests that a folder's kustomization makes, in the order in which it names them.

    Raises:
        ValueError: it uses something of kustomize that is not implemented here, or kustomize would refuse it.
    """
    told = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    if unknown := set(told) - KNOWN_FIELDS:
        raise ValueError(f"{folder}: {sorted(unknown)} are not known here")
    made = [manifest for name in told.get("resources", ()) for manifest in _resource(folder / name)]
    made += [_config_map(folder, each, told["generatorOptions"]) for each in told.get("configMapGenerator", ())]
    for patch in told.get("patches", ()):
        _patch(made, patch["target"], yaml.safe_load(patch["patch"]))
    for manifest in made:
        if "namespace" in told and manifest["kind"] not in CLUSTER_WIDE:
            manifest["metadata"]["namespace"] = told["namespace"]
        for image in told.get("images", ()):
            for container in containers(manifest):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    return made


def containers(tree: Any) -> Iterator[dict[str, Any]]:
    """All containers in a manifest, wherever its pods are described."""
    if isinstance(tree, dict):
        yield from tree.get("containers", ())
        for value in tree.values():
            yield from containers(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from containers(value)


def _resource(path: Path) -> list[Manifest]:
    if path.is_dir():
        return build(path)
    # Aliases of YAML are written out, so that a patch changes one place alone.
    return [json.loads(json.dumps(each)) for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def _config_map(folder: Path, generator: dict[str, Any], options: dict[str, Any]) -> Manifest:
    """Raises ValueError for a file outside of the folder, as kustomize does."""
    files = [folder / name for name in generator["files"]]
    if any(path.resolve().parent != folder.resolve() for path in files):
        raise ValueError(f"{folder}: files have to lie beside the kustomization")
    data = {path.name: path.read_text(encoding="utf-8") for path in files}
    metadata = {"name": generator["name"], "labels": options["labels"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _patch(manifests: list[Manifest], target: dict[str, str], operations: list[dict[str, Any]]) -> None:
    """Applies a JSON patch (RFC 6902) of additions and replacements.

    Raises:
        ValueError: nothing is meant by it, or what it replaces is not there.
    """
    meant = [m for m in manifests if m["kind"] == target["kind"] and m["metadata"]["name"] == target["name"]]
    if not meant:
        raise ValueError(f"no manifest is {target}")
    for manifest in meant:
        for operation in operations:
            *way, last = operation["path"].strip("/").split("/")
            place: Any = manifest
            for part in way:
                place = place[int(part)] if isinstance(place, list) else place[part]
            if operation["op"] not in {"add", "replace"} or (operation["op"] == "replace") != (last in place):
                raise ValueError(f"{operation['op']} {operation['path']} cannot be done")
            place[last] = deepcopy(operation["value"])
