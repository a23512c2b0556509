"""`generation.vector_files`: files of W vectors, and what is refused."""

import json
import resource
import types
import zipfile

import numpy as np
import pytest
import weight_writers

from dnnlib.errors import UserError
from generation import points, vector_files

pytestmark = pytest.mark.one_stack


def fake_net(layers=6, size=8, sides=(4, 8, 8)):
    variables = {f"noise{idx}": np.zeros([1, 1, side, side]) for idx, side in enumerate(sides)}
    synthesis = types.SimpleNamespace(input_shape=[None, layers, size], vars=variables)
    return types.SimpleNamespace(components=types.SimpleNamespace(synthesis=synthesis))


def rnd(*shape):
    return np.random.RandomState(0).randn(*shape).astype(np.float32)


def test_round_trip(tmp_path):
    noises = [rnd(2, 1, 4, 4), rnd(1, 1, 8, 8), rnd(2, 1, 8, 8)]
    path = tmp_path / "a.npz"
    vector_files.save(path, rnd(2, 6, 8), noises, {"network": "x.pkl", "steps": 3})
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    file = vector_files.load(path, fake_net())
    assert file.path == str(path) and file.settings == {"network": "x.pkl", "steps": 3}
    np.testing.assert_array_equal(file.dlatents, rnd(2, 6, 8))
    assert file.dlatents.dtype == np.float32 and len(file.noises) == 3
    for own, noise in zip(file.noises_of(1), noises, strict=True):
        np.testing.assert_array_equal(own, noise[-1:])
    with np.load(path, allow_pickle=False) as npz:  # as anybody would read it
        assert sorted(npz.files) == ["dlatents", "format_version", "noise0", "noise1", "noise2", "settings"]
        assert json.loads(str(npz["settings"]))["steps"] == 3


def test_files_of_others(tmp_path):
    w = rnd(1, 6, 8)
    np.savez(tmp_path / "w.npz", w=w)
    np.savez_compressed(tmp_path / "projected.npz", projected_w=w.astype(np.float64))
    np.save(tmp_path / "w.npy", w)
    np.save(tmp_path / "single.npy", np.asfortranarray(w[0]))
    for name in ("w.npz", "projected.npz", "w.npy", "single.npy"):
        file = vector_files.load(tmp_path / name, fake_net())
        np.testing.assert_array_equal(file.dlatents, w)
        assert file.dlatents.dtype == np.float32 and file.noises == [] and file.settings == {}


@pytest.mark.parametrize(
    ("shape", "num", "note"),
    [
        ((8,), 1, ""),
        ((1, 8), 1, ""),
        ((1, 1, 8), 1, ""),
        ((3, 1, 8), 3, ""),
        ((1, 1, 6, 8), 1, ""),
        ((5, 8), 5, "its 5 vectors are each for all layers."),
        ((6, 8), 1, "are taken for one vector of 6 layers; 6 vectors for all layers would have the shape [6, 1, 8]."),
    ],
)
@pytest.mark.parametrize("ending", ["npy", "npz", "zip.pt", "legacy.pt"])
def test_shapes_of_others(shape, num, note, ending, tmp_path, capsys):
    path = tmp_path / f"a.{ending}"
    array = rnd(*shape)
    if ending == "npy":
        np.save(path, array)
    elif ending == "npz":
        np.savez(path, w=array)
    else:
        path.write_bytes((weight_writers.pth_zip if ending == "zip.pt" else weight_writers.pth_legacy)(array))
    dlatents = vector_files.load(path, fake_net()).dlatents
    assert dlatents.shape == (num, 6, 8)
    layers = array.reshape(num, -1, 8)
    np.testing.assert_array_equal(dlatents, layers.repeat(6, 1) if layers.shape[1] == 1 else layers)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{path}: ") and printed.endswith(f"{note}\n") if note else printed == ""


def test_files_of_encoders(tmp_path, capsys):
    def load(content):
        (tmp_path / "a.pt").write_bytes(weight_writers.pth_zip(content))
        return vector_files.load(tmp_path / "a.pt", fake_net())

    noises = [rnd(1, 1, side, side) for side in (4, 8, 8)]
    image = {"img": rnd(3, 8, 8), "latent": rnd(8), "noise": noises}
    w_plus = {**image, "latent": rnd(6, 8) + 1, "noise": [noise + 1 for noise in noises]}
    file = load({"a.jpg": image, "b.jpg": {**image, "latent": rnd(8) * 2}})
    np.testing.assert_array_equal(file.dlatents, np.stack([rnd(8), rnd(8) * 2])[:, np.newaxis].repeat(6, 1))
    np.testing.assert_array_equal(file.noises_of(1)[2], noises[2])
    np.testing.assert_array_equal(load({"a.jpg": w_plus}).dlatents, w_plus["latent"][np.newaxis])
    np.testing.assert_array_equal(load({"a.jpg": rnd(6, 8), "b.jpg": rnd(6, 8)}).dlatents, [rnd(6, 8)] * 2)
    np.testing.assert_array_equal(load([rnd(1, 6, 8), rnd(1, 6, 8)]).dlatents, [rnd(6, 8)] * 2)
    np.testing.assert_array_equal(load({"latents": rnd(2, 6, 8)}).dlatents, rnd(2, 6, 8))
    assert capsys.readouterr().out == ""
    for content, message in (
        ({}, "has no vectors: expected a tensor, or tensors of images by name; it has a dict"),
        ({"g_ema": {"input.input": rnd(1, 8, 4, 4)}}, "it has a dict of 'g_ema'"),
        ({"a.jpg": image, "b.jpg": rnd(6, 8)}, "has not as many noise images for each of its vectors"),
        ({"a.jpg": rnd(6, 8), "b.jpg": rnd(8)}, "has images of different shapes: [1, 8], [6, 8]"),
        (rnd(1, 8, 8), "8 layers of 8 numbers, but the network has 6 of 8"),
        ("text", "it has a str"),
    ):
        with pytest.raises(UserError) as error:
            load(content)
        assert message in str(error.value) and str(tmp_path / "a.pt") in str(error.value)


def test_an_only_array_of_any_name(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", rnd(1, 6, 8))
    assert vector_files.load(tmp_path / "a.npz", fake_net()).dlatents.shape == (1, 6, 8)
    assert capsys.readouterr().out == f"{tmp_path / 'a.npz'}: its array 'arr_0' is taken for W.\n"
    np.savez(tmp_path / "z.npz", z=rnd(1, 8))
    with pytest.raises(UserError, match="only z; Z vectors are inputs of the mapping network, which gives W"):
        vector_files.load(tmp_path / "z.npz", fake_net())


def write_member(path, name, header, content=b""):
    text = repr(header).encode().ljust(118) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + content)


def test_what_is_refused(tmp_path):
    good = {"dlatents": rnd(2, 6, 8), "noise0": rnd(1, 1, 4, 4)}

    def savez(name, **arrays):
        np.savez(tmp_path / name, **{**good, **arrays})
        return tmp_path / name

    huge = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 6, 8)}
    write_member(tmp_path / "huge.npz", "dlatents.npy", huge)
    write_member(tmp_path / "short.npz", "dlatents.npy", {**huge, "shape": (1, 6, 8)}, b"abc")
    write_member(tmp_path / "object.npz", "dlatents.npy", {**huge, "descr": "|O", "shape": (1, 6, 8)}, b"x" * 384)
    write_member(tmp_path / "shape.npz", "dlatents.npy", {**huge, "shape": (-1, 6, 8)})
    write_member(tmp_path / "type.npz", "dlatents.npy", {**huge, "descr": "nonsense"})
    (tmp_path / "text.npz").write_text("no vectors")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "cut.npz").write_bytes(savez("whole.npz").read_bytes()[:-40])
    np.savez(tmp_path / "other.npz", a=rnd(2), b=rnd(2))
    np.save(tmp_path / "dict.npy", {"a.jpg": rnd(1, 6, 8)}, allow_pickle=True)
    for path, message in (
        (tmp_path / "none.npz", "no such file, expected a .npz, .npy or .pt file"),
        (tmp_path, "is a folder"),
        (tmp_path / "text.npz", "is none of the files with vectors: .npz, .npy, or .pt"),
        (tmp_path / "empty.npz", "is none of the files with vectors: .npz, .npy, or .pt"),
        (tmp_path / "cut.npz", "is none of the files with vectors: .npz, .npy, or .pt"),
        (tmp_path / "huge.npz", "is damaged, or no file of W vectors (Unable to allocate"),
        (
            tmp_path / "short.npz",
            "is damaged, or no file of W vectors (EOF: reading array data",
        ),
        (tmp_path / "object.npz", "Object arrays cannot be loaded"),
        (tmp_path / "dict.npy", "has Python objects, such as a dict of arrays, in it; save the array of vectors alone"),
        (tmp_path / "shape.npz", "is damaged, or no file of W vectors"),
        (tmp_path / "type.npz", "is damaged, or no file of W vectors"),
        (
            tmp_path / "other.npz",
            "has no array 'dlatents' (or w or projected_w or w_plus or wp or latents or latent), only a, b",
        ),
        (savez("int.npz", dlatents=np.zeros([2, 6, 8], int)), "has type int64, expected floating point numbers"),
        (savez("pickled.npz", dlatents=np.asarray([None])), "Object arrays cannot be loaded"),
        (savez("4d.npz", dlatents=rnd(2, 6, 8, 1)), "the shape [2, 6, 8, 1], expected [N, layers, dlatent_size]"),
        (savez("zero.npz", dlatents=rnd(0, 6, 8)), "the shape [0, 6, 8]"),
        (savez("nan.npz", dlatents=rnd(2, 6, 8) * np.nan), "dlatents have values that are not finite"),
        (savez("big.npz", dlatents=np.full([2, 6, 8], 1e300)), "dlatents have values that are not finite"),
        (savez("noise.npz", noise0=rnd(3, 1, 4, 4)), "noise0 has the shape [3, 1, 4, 4], expected [2 or 1, 1, H, W]"),
        (savez("gap.npz", noise2=rnd(1, 1, 4, 4)), "has 2 noise images, expected them as noise0, noise1, ..."),
        (savez("settings.npz", settings=np.asarray("[1]")), "its settings are not JSON of an object"),
    ):
        with pytest.raises(UserError) as error:
            vector_files.load(path)
        assert message in str(error.value) and str(error.value).startswith(str(path))


def test_a_small_file_takes_little_memory(tmp_path):
    path = tmp_path / "bomb.npz"
    text = repr({"descr": "<f4", "fortran_order": False, "shape": (1, 1, 4096, 4096)}).encode().ljust(117) + b"\n"
    noise = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(4 * 4096**2)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dlatents.npy", noise)
        for idx in range(7):
            archive.writestr(f"noise{idx}.npy", noise)
    assert path.stat().st_size < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="its arrays have more bytes than the file"):
        vector_files.load(path)
    with open(tmp_path / "huge.npy", "wb") as file:
        file.write(noise[:10] + text.replace(b"(1, 1, 4096, 4096)", b"(99999999, 18, 51)"))
    with pytest.raises(UserError, match="is damaged, or no file of W vectors"):
        vector_files.load(tmp_path / "huge.npy")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000  # KB


def test_all_that_does_not_fit(tmp_path):
    path = tmp_path / "a.npz"
    vector_files.save(path, rnd(1, 8, 4), [rnd(1, 1, 4, 4)], {"network": "other.pkl"})
    with pytest.raises(UserError) as error:
        vector_files.load(path, fake_net())
    assert str(error.value).splitlines() == [
        f"{path}: 8 layers of 4 numbers, but the network has 6 of 8 (made with other.pkl)",
        f"{path}: noise images of 4x4, but the network has 4x4, 8x8, 8x8 (made with other.pkl)",
    ]
    np.savez(path, dlatents=rnd(1, 6, 8) * np.nan, noise0=rnd(1, 2, 4, 4))
    with pytest.raises(UserError, match=r"not finite\n.*noise0 has the shape"):
        vector_files.load(path)


def test_names_of_what_is_made_of_files():
    """At most 100 bytes, so that two of them, with what is added, make the name of a file; the rest can be decoded."""
    assert points.stem_of("a/anna.b.npz") == "anna.b"
    assert points.stem_of(f"{'写' * 83}.npz") == "写" * 33
    assert points.stem_of("b\udcff\udcfe.npz") == "b__"
