"""The manifest of a published version: every file with its size and SHA-256; and which version LATEST names."""

import json
from collections.abc import Mapping
from typing import Any

from sparkdml.errors import FormatError
from sparkdml.files import Files
from sparkdml.saved import SMALL, parse

MANIFEST, SUCCESS, LATEST = "manifest.json", "_SUCCESS", "LATEST"
_FORMAT = {"format": "sparkdml-manifest", "formatVersion": 1}


def dump_manifest(files: Files) -> bytes:
    """The manifest of the files that are there."""
    return json.dumps({**_FORMAT, "files": _contents(files, files.sizes())}, indent=2).encode() + b"\n"


def check_listed(files: Files) -> Mapping[str, Any]:
    """The entries of the manifest, where exactly the files that it lists are there, of the sizes that it tells.

    Raises FormatError naming the first file that is missing, not listed, or of another size. No other file is read.
    """
    listed, found = _listed(files), files.sizes()
    _require_same(files, _told(listed, "size"), _own(found), "bytes")
    if SUCCESS not in found:
        raise FormatError(f"{files.root} has no {SUCCESS}: the version is not complete.")
    return listed


def check_digests(files: Files, listed: Mapping[str, Any]) -> None:
    """Raise FormatError naming the first file whose SHA-256 is not that of the manifest."""
    digests = {name: files.sha256(name) for name in listed}
    _require_same(files, _told(listed, "sha256"), digests, "as SHA-256")


def latest_version(content: bytes, where: str) -> str:
    """The version that the content of a file LATEST names; FormatError where it names none."""
    name = content.decode(errors="replace").strip()
    if not name or set(name) & set("/\\\0") or name.startswith("."):
        raise FormatError(f"{where} names no version: {name!r:.80}.")
    return name


def _contents(files: Files, found: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    return {name: {"size": size, "sha256": files.sha256(name)} for name, size in _own(found).items()}


def _own(found: Mapping[str, int]) -> dict[str, int]:
    """The files that a manifest lists."""
    return {name: size for name, size in found.items() if name not in (MANIFEST, SUCCESS)}


def _listed(files: Files) -> dict[str, Any]:
    path = f"{files.root}/{MANIFEST}"
    if files.size(MANIFEST) is None:
        raise FormatError(f"{files.root} has no {MANIFEST}.")
    manifest = parse(files.read(MANIFEST, SMALL), path)
    if not isinstance(manifest, dict) or {**manifest, "files": None} != {**_FORMAT, "files": None}:
        raise FormatError(f"{path} is not a manifest of a version that this sparkdml knows.")
    if not isinstance(manifest["files"], dict):
        raise FormatError(f"{path} does not list files.")
    return dict(manifest["files"])


def _told(listed: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What the manifest tells of each file; None where it tells nothing."""
    return {name: entry.get(what) if isinstance(entry, dict) else None for name, entry in listed.items()}


def _require_same(files: Files, listed: Mapping[str, Any], found: Mapping[str, Any], what: str) -> None:
    for name in sorted({*listed, *found}):
        if name not in found:
            raise FormatError(f"{files.root}: {name} is in the manifest but not there.")
        if name not in listed:
            raise FormatError(f"{files.root}: {name} is not in the manifest.")
        if found[name] != listed[name]:
            raise FormatError(
                f"{files.root}: {name} is not as the manifest has it: {found[name]}, not {listed[name]!r:.80} {what}."
            )
