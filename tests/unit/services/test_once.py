"""What several candidates begin with is read again only as it was written: a graph is unpickled when it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.services.compile import source
from lockgate.services.compile.errors import NotMade

Harm = Callable[[Path], object]


def test_the_first_writes_it_and_the_next_reads_it(tmp_path: Path) -> None:
    for _ in range(2):
        place, answer = source.once(tmp_path, "graph", _writer(tmp_path))
        assert ((place / "model.onnx").read_text(), answer) == ("a graph", ["x"])
    assert (tmp_path / "written").read_text() == "1"


@pytest.mark.parametrize(
    "harm",
    [
        lambda place: (place / "model.onnx").write_text("A graph"),
        lambda place: (place / "model.onnx.data").write_text("more"),
        lambda place: (place / "model.onnx").unlink(),
        lambda place: [
            (place / "model.onnx").rename(place.parent / "there"),
            (place / "model.onnx").symlink_to("../there"),
        ],
    ],
    ids=["another byte", "another file", "missing", "a link"],
)
def test_what_changed_is_written_anew(tmp_path: Path, harm: Harm) -> None:
    place, _ = source.once(tmp_path, "graph", _writer(tmp_path))
    harm(place)
    place, _ = source.once(tmp_path, "graph", _writer(tmp_path))
    assert [path.name for path in place.iterdir() if path.suffix != ".json"] == ["model.onnx"]
    assert (place / "model.onnx").read_text() == "a graph"
    assert (tmp_path / "written").read_text() == "2"


def test_what_could_not_be_written_is_not_tried_again(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError(f"no {len(list(tmp_path.iterdir()))}")

    for _ in range(2):
        with pytest.raises(NotMade, match="ValueError: no 1"):
            source.once(tmp_path, "graph", fails)


def _writer(counted: Path) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        count = counted / "written"
        count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
        (folder / "model.onnx").write_text("a graph")
        return ["x"]

    return write
