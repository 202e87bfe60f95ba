import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medvit import untrusted
from medvit.errors import MedvitError


def test_arrays_come_back_as_numpy_wrote_them(tmp_path):
    written = {
        "matrix": np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3)),
        "scalar": np.float32(0.5),
        "text": np.array("sha256"),
        "empty": np.zeros((0, 4), np.uint8),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **written)
        arrays = untrusted.read_arrays(tmp_path / "a.npz", set(written))
        for name, array in written.items():
            np.testing.assert_array_equal(arrays[name], array)
            assert arrays[name].dtype == array.dtype
        assert arrays["matrix"].flags.writeable


def test_an_array_that_is_not_expected_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", logits=np.zeros(3), other=np.zeros(3))
    with pytest.raises(MedvitError, match="'other'"):
        untrusted.read_arrays(tmp_path / "a.npz", {"logits"})


@pytest.mark.parametrize("levels", [31, 33])
def test_json_may_be_nested_to_a_limit(tmp_path, levels):
    path = tmp_path / "a.json"
    path.write_text('{"a": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}")
    if levels < untrusted.JSON_DEPTH:
        assert untrusted.read_json(path) == json.loads(path.read_text())
    else:
        with pytest.raises(MedvitError, match="levels deep"):
            untrusted.read_json(path)


def test_no_more_is_read_of_a_file_than_the_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    assert untrusted.read_bytes(path, 100) == bytes(100)
    with pytest.raises(MedvitError, match="larger than"):
        untrusted.read_bytes(path, 99)
    with pytest.raises(MedvitError, match="missing"):
        untrusted.read_bytes(tmp_path / "b", 99)


@pytest.mark.parametrize("read", [untrusted.read_shapes, lambda path: untrusted.read_bytes(path, 10)])
def test_a_missing_file_is_named_without_its_folder(tmp_path, read):
    with pytest.raises(MedvitError) as raised:
        read(tmp_path / "model.safetensors")
    assert str(raised.value).startswith("model.safetensors ")
    assert str(tmp_path) not in str(raised.value)


def test_the_shapes_are_those_of_the_tensors(tmp_path):
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.float16), "c": torch.tensor(1)}
    save_file(tensors, tmp_path / "a.safetensors")
    shapes = untrusted.read_shapes(tmp_path / "a.safetensors")
    assert shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
