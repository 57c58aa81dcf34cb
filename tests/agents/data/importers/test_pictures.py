"""Pictures and what else is kept beside: in the dataset as they were, and left out of training with a line."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

import agents
from agents.data.importers.pictures import part_names, space_of, stored
from agents.errors import DataError

SHAPE = (32, 40)
RNG = np.random.default_rng(0)


def picture(*colours: int) -> np.ndarray:
    return RNG.integers(0, 256, (*SHAPE, *colours), np.uint8)


def file_of(array: np.ndarray, kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, format=kind)
    return content.getvalue()


def episode(pictures: Any, **more: Any) -> dict[str, Any]:
    length = len(pictures) - 1
    steps = {"observation": RNG.standard_normal((length + 1, 2)), "action": RNG.uniform(-1, 1, (length, 1))}
    return {**steps, "picture": pictures, **more}


def test_pictures_are_parts_of_the_dataset_as_they_were(take, episodes) -> None:
    pictures = [np.stack([picture(3) for _ in range(4)]) for _ in range(2)]
    imported = take([episode(each) for each in pictures])
    space = minari.load_dataset("robot/arm-v0").observation_space
    assert isinstance(space, gym.spaces.Dict)
    assert space["picture"] == gym.spaces.Box(0, 255, (*SHAPE, 3), np.uint8)
    for there, here in zip(episodes(), pictures):
        assert np.array_equal(there.observations["picture"], here)
        assert there.observations["observation"].shape == (4, 2)
    assert imported.meaning["pictures"].startswith("picture (32 x 40 x 3): kept, and left out of training")


def test_training_leaves_pictures_out_with_a_line_and_an_inclusion_is_refused(take) -> None:
    take([episode(np.stack([picture(3) for _ in range(4)]))])
    with pytest.warns(UserWarning, match=r"'robot/arm-v0': left out of training: picture \(a picture\)"):
        dataset = agents.load_dataset("robot/arm-v0", progress=False)
    assert dataset.specs.numbers.observations.size == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agents.load_dataset("robot/arm-v0", exclude=["picture"], progress=False)
    with pytest.raises(DataError, match="'picture' is a picture.*not learned from"):
        agents.load_dataset("robot/arm-v0", include=["picture"], progress=False)


def test_names_of_the_vector_stay_beside_pictures(take, episodes) -> None:
    columns = {
        "flow": np.zeros(3),
        "level": np.ones(3),
        "valve": np.zeros(3),
        "camera": np.zeros((3, *SHAPE), np.uint8),
    }
    uses: dict[str, Any] = {"observation": ["*"], "action": ["valve"], "picture": ["camera"]}
    take([columns], **uses)
    with pytest.warns(UserWarning, match=r"camera \(a picture\)"):
        assert agents.load_dataset("robot/arm-v0", progress=False).specs.observation_names == ("flow", "level")
    take([columns], dataset="robot/arm-v1", **uses, pictures="drop")
    (there,) = episodes("robot/arm-v1")
    assert there.observations.shape == (3, 2)  # a pattern takes no picture


def test_infos_of_steps_are_kept_and_not_learned_from(take, episodes) -> None:
    chances, words = [0.25, 0.5, 1.0], ["open", "the", "door"]
    more: dict[str, Any] = {"propensity": chances, "order": words}
    imported = take([episode(np.zeros((4, *SHAPE), np.uint8), **more)], keep=["propensity", "order"])
    (there,) = episodes()
    assert there.infos["propensity"].tolist() == chances
    assert [word.decode() for word in there.infos["order"]] == words
    assert imported.meaning["kept with the steps"] == "propensity, order; not learned from"


def test_no_chance_is_lost_behind_a_termination(take, episodes) -> None:
    """The last picture is repeated with its observation."""
    rows = {"observation": np.zeros((2, 1)), "action": np.zeros((2, 1)), "terminated": True}
    take([{**rows, "picture": np.stack([picture(), picture()])}])
    (there,) = episodes()
    assert len(there.observations["picture"]) == 3 and len(there.rewards) == 2
    assert np.array_equal(there.observations["picture"][1], there.observations["picture"][2])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("colours", [(), (3,)])
def test_files_are_kept_as_they_are(kind, colours) -> None:
    content = file_of(picture(*colours), kind)
    space = space_of(content)
    (kept,) = stored([content], space, str)
    assert kept.tobytes() == content and space.shape == (*SHAPE, *colours)


@pytest.mark.parametrize(
    "array", [picture(), picture(3), picture(4), picture(1)], ids=["grey", "colour", "transparent", "one_channel"]
)
def test_numbers_become_files_without_a_loss(array) -> None:
    (kept,) = stored([array], space_of(array), str)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(kept.tobytes()))), array.squeeze())


def test_depths_and_small_pictures_are_numbers() -> None:
    """Minari keeps those as they are."""
    depth = RNG.integers(0, 2**16, SHAPE, np.uint16)
    for content in (depth, file_of(depth, "PNG"), picture(3)[:8, :8], file_of(picture(3)[:8, :8], "PNG")):
        space = space_of(content)
        (kept,) = stored([content], space, str)
        assert kept.shape == space.shape and space.contains(kept)
        if isinstance(content, np.ndarray):
            assert np.array_equal(kept, content)


def test_other_modes_take_that_of_the_first() -> None:
    (kept,) = stored([file_of(picture(), "JPEG")], space_of(picture(3)), str)
    assert np.asarray(Image.open(io.BytesIO(kept.tobytes()))).shape == (*SHAPE, 3)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (b"", "step 1 of it: a picture cannot be read: it is damaged, or in no format"),
        (np.zeros((8, 40, 3), np.uint8), "step 1 of it: a picture is 8 x 40, those before 32 x 40"),
    ],
)
def test_a_broken_picture_is_a_line(broken, says) -> None:
    with pytest.raises(DataError, match=says):
        list(stored([picture(3), broken], space_of(picture(3)), "step {} of it".format))


def test_no_picture_and_too_few_are_lines(take, store) -> None:
    with pytest.raises(DataError, match="'picture' holds no picture"):
        take([episode(np.zeros((4, 3)))])
    with pytest.raises(DataError, match="2 pictures 'picture', where 4 are needed"):
        take([{**episode(np.zeros((4, *SHAPE), np.uint8)), "picture": np.zeros((2, *SHAPE), np.uint8)}])
    assert not [*store.rglob("metadata.json")]


def test_parts_are_called_by_the_last_word_that_tells_them_apart() -> None:
    assert part_names(["observation/image_0", "observation.images.top"]) == {
        "observation/image_0": "image_0",
        "observation.images.top": "top",
    }
    assert [*part_names(["a/top", "b/top"]).values()] == ["a_top", "b_top"]
    assert [*part_names(["x.observation"]).values()] == ["x_observation"]


def test_depths_are_left_out_of_training_too(take) -> None:
    take([episode(np.zeros((4, *SHAPE), np.uint16))])
    with pytest.warns(UserWarning, match=r"picture \(a picture\)"):
        agents.load_dataset("robot/arm-v0", progress=False)


def test_a_picture_that_would_fill_memory_is_a_line(take) -> None:
    picture = io.BytesIO()
    Image.new("L", (2, 2)).save(picture, format="PNG")
    head = picture.getvalue()
    size = struct.pack(">II", 60_000, 60_000)
    huge = head[:16] + size + head[24:29] + struct.pack(">I", zlib.crc32(head[12:16] + size + head[24:29])) + head[33:]
    rows = {"s": np.arange(3.0), "a": [0.5] * 3, "p": [huge] * 3}
    pyarrow.parquet.write_table(pa.table(rows), "log.parquet")
    with pytest.raises(DataError, match="'p' holds no picture .is larger than any that Pillow opens"):
        take("log.parquet", observation=["s"], action=["a"], picture=["p"])


def test_pictures_of_a_table_are_the_bytes_of_files_with_or_without_their_paths(take, episodes) -> None:
    """As Hugging Face's tables have them."""
    files = []
    for shade in range(3):
        content = io.BytesIO()
        Image.new("L", (2, 2), shade).save(content, format="PNG")
        files.append(content.getvalue())

    def table(pictures: list[Any]) -> str:
        pyarrow.parquet.write_table(pa.table({"s": np.arange(3.0), "a": [0.5] * 3, "p": pictures}), "log.parquet")
        return "log.parquet"

    uses = {"observation": ["s"], "action": ["a"], "picture": ["p"]}
    take(table([{"bytes": file, "path": "a.png"} for file in files]), **uses)
    assert episodes()[0].observations["p"][:, 0, 0].tolist() == [0, 1, 2]
    for pictures, says in ((files[:2] + [None], "is missing"), (["a.png"] * 3, "is of type str, no file's bytes")):
        with pytest.raises(DataError, match=f"row . of log.parquet: the picture 'p' {says}"):
            take(table(pictures), "robot/arm-v1", **uses)
