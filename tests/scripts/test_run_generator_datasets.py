"""`run_generator.py generate-images --to`: data sets of generated images."""

import io
import json
import sys
import zipfile

import golden
import numpy as np
import PIL.Image
import pytest

import run_generator
from dnnlib.tflib import Network, convert_images_to_uint8
from dnnlib.tflib.checkpoints import network_files
from training.data.dataset import TFRecordDataset
from training.data.image_export import ImageExporter

SIZES = {"fmap_base": 32, "fmap_max": 8, "latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8}


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Small networks: of three classes, and without classes: RGBA of 12x16, and grayscale."""
    folder = tmp_path_factory.mktemp("nets")
    for name, num_channels, label_size, size in (("cond", 3, 3, 8), ("rgba", 4, 0, [12, 16]), ("gray", 1, 0, 8)):
        sizes = {"resolution": size, "num_channels": num_channels, "label_size": label_size, **SIZES}
        net = Network("Gs", func_name="training.networks_stylegan2.G_main", **sizes)
        golden.set_variables(net.vars, name)
        network_files.save_pkl(net, folder / f"{name}.pkl")
    return folder


@pytest.fixture
def generate(tmp_path, nets, monkeypatch):
    """Runs the command in the test's folder. `net` is the name of a network; the other arguments are flags."""
    monkeypatch.chdir(tmp_path)

    def generate(net, *flags):
        argv = ["run_generator.py", "generate-images", f"--network={nets / net}.pkl", *flags]
        monkeypatch.setattr(sys, "argv", argv)
        run_generator.main()

    return generate


def images_of(path):
    """Name and pixels of all images of a zip file or folder, and what is in its `dataset.json`."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as file:
            assert all(info.compress_type == zipfile.ZIP_STORED for info in file.infolist())
            contents = {name: file.read(name) for name in file.namelist()}
    else:
        contents = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    facts = json.loads(contents.pop("dataset.json"))
    return {name: np.asarray(PIL.Image.open(io.BytesIO(data))) for name, data in contents.items()}, facts


def expected(Gs, seed, label, psi):
    """What the official `generate-images` makes of a seed, [H, W, C]."""
    state = np.random.RandomState(seed)
    z = state.randn(1, 8)
    shapes = [var.shape for key, var in Gs.components.synthesis.vars.items() if key.startswith("noise")]
    noise = [state.randn(*shape).astype(np.float32) for shape in shapes]
    images = Gs.get_output_for(z, label, noise=noise, truncation_psi=psi)
    return convert_images_to_uint8(images, nchw_to_nhwc=True)[0].numpy()


def test_images_of_each_class(generate, nets, tmp_path, capsys):
    generate("cond", "--count=3", "--per-class", "--to=all.zip", "--seeds=10", "--minibatch-size=2")
    generate("cond", "--count=3", "--per-class", "--to=all", "--seeds=10", "--minibatch-size=2")
    assert "without a label" not in capsys.readouterr().out
    images, facts = images_of(tmp_path / "all.zip")
    names = [f"class{number // 3}/seed{10 + number:04d}.png" for number in range(9)]
    assert sorted(images) == names
    assert facts["labels"] == [[name, number // 3] for number, name in enumerate(names)]
    assert facts["seeds"] == list(range(10, 19))
    assert (facts["network"], facts["truncation_psi"], facts["noise_mode"]) == ("cond.pkl", 1, "seed")
    Gs = network_files.load_pkl(nets / "cond.pkl")
    for number, name in enumerate(names):
        image = expected(Gs, 10 + number, np.eye(3)[[number // 3]], 1.0)
        assert np.abs(images[name].astype(int) - image).max() <= 1
    of_folder, facts_of_folder = images_of(tmp_path / "all")
    assert facts_of_folder == facts
    assert all(np.array_equal(of_folder[name], images[name]) for name in names)
    for path in ("all.zip", "all"):
        dataset = TFRecordDataset(str(tmp_path / path), max_label_size="full")
        assert (dataset.num_images, dataset.shape, dataset.label_size) == (9, [3, 8, 8], 3)
        pixels, labels = dataset.read(np.arange(9))
        np.testing.assert_array_equal(labels.argmax(axis=1), np.arange(9) // 3)
        np.testing.assert_array_equal(pixels.transpose(0, 2, 3, 1), [images[name] for name in names])
        dataset.close()


def test_an_interrupted_run_goes_on(generate, tmp_path, monkeypatch, capsys):
    flags = ("--seeds=5-11", "--minibatch-size=3", "--truncation-psi=0.7", "--class-idx=1")
    generate("cond", *flags, "--to=whole.zip")
    add = ImageExporter.add
    written = []

    def interrupted(self, index, content):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(index)
        add(self, index, content)

    for to in ("all.zip", "all"):
        written.clear()
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(ImageExporter, "add", interrupted)
            generate("cond", *flags, f"--to={to}")
        assert not (tmp_path / to).exists()
        with pytest.raises(SystemExit):
            generate("cond", *flags[:2], "--class-idx=1", f"--to={to}")
        assert "truncation_psi: 0.7, now 1" in capsys.readouterr().err
        generate("cond", *flags, f"--to={to}")
        assert "4 of 7 images are there" in capsys.readouterr().out
        images, facts = images_of(tmp_path / to)
        whole, facts_of_whole = images_of(tmp_path / "whole.zip")
        assert facts == facts_of_whole and facts["classes"] == ["0", "1", "2"]
        assert {label for _, label in facts["labels"]} == {1}
        assert images.keys() == whole.keys()
        assert all(np.array_equal(images[name], whole[name]) for name in whole)
    assert {path.name for path in tmp_path.iterdir()} == {"all", "all.zip", "whole.zip", "results"}


def test_formats(generate, tmp_path):
    generate("rgba", "--count=2", "--to=png", "--minibatch-size=1")
    generate("rgba", "--count=2", "--to=webp", "--format=webp")
    images, facts = images_of(tmp_path / "png")
    assert facts["labels"] is None
    of_webp, _ = images_of(tmp_path / "webp")
    for name, image in images.items():
        assert image.shape == (12, 16, 4)
        assert np.abs(of_webp[name.replace("png", "webp")].astype(int) - image).max() <= 1
    dataset = TFRecordDataset(str(tmp_path / "png"), shuffle_mb=0)
    assert dataset.shape == [4, 12, 16]
    np.testing.assert_array_equal(dataset.read(np.array([1]))[0][0], images["seed0001.png"].transpose(2, 0, 1))
    dataset.close()
    generate("gray", "--count=2", "--to=gray.zip", "--format=jpg")
    images, _ = images_of(tmp_path / "gray.zip")
    assert images["seed0001.jpg"].shape == (8, 8)


def test_a_count_without_a_data_set(generate, tmp_path):
    generate("gray", "--count=3", "--seeds=7")
    (run_dir,) = (tmp_path / "results").iterdir()
    assert sorted(path.name for path in run_dir.glob("*.png")) == [f"seed{seed:04d}.png" for seed in (7, 8, 9)]


@pytest.mark.parametrize(
    ("net", "flags", "messages"),
    [
        ("gray", ["--count=3", "--per-class", "--to=x"], ["trained without classes"]),
        ("gray", ["--count=3", "--to=x", "--format=webp"], ["--format=webp: webp-lossless has no grayscale; png has"]),
        ("rgba", ["--count=3", "--to=x", "--format=jpg"], ["--format=jpg"]),
        (
            "gray",
            ["--seeds=1", "--per-class", "--force"],
            ["--force is of", "--per-class is of", "--count, the number"],
        ),
        ("cond", ["--count=3", "--per-class", "--class-idx=1", "--to=x"], ["leave out --class-idx and --label"]),
        ("gray", ["--count=3", "--seeds=1,2", "--to=x"], ["expected one seed to begin with"]),
        ("gray", ["--count=9", "--seeds=4294967290", "--to=x"], ["out of range"]),
        ("gray", ["--count=99999999", "--to=x"], ["--count=99999999: expected 10000000 at most"]),
        ("cond", ["--count=4000000", "--per-class", "--to=x"], ["of each of 3 classes: expected 3333333 at most"]),
        ("gray", ["--count=3", "--dlatents=there/file", "--to=x"], ["leave out --count or --dlatents"]),
        ("gray", ["--dlatents=there/file", "--to=x"], ["leave out --to or --dlatents"]),
        ("gray", ["--count=3", "--to=there", "--grid"], ["there exists and is not empty; --force", "leave out --grid"]),
        ("gray", ["--count=3", "--to=there", "--force"], ["with a dataset.json only"]),
        ("gray", ["--count=3", "--to=there/file/x.zip"], ["is a file, expected a folder"]),
    ],
)
def test_what_cannot_be(generate, tmp_path, net, flags, messages, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(SystemExit) as error:
        generate(net, *flags)
    assert error.value.code == 1
    text = capsys.readouterr().err
    assert all(message in text for message in messages), text
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert {name for name in left if not name.startswith("results")} == {"there", "there/file"}
