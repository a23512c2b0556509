"""`network-final.md`: what it says, of every kind of run, and what it must not say."""

import json
import re

import numpy as np
import pytest

from training.loop.options import LoopOptions
from training.run_folder import model_card, snapshots

pytestmark = pytest.mark.one_stack
OPTIONS = {
    "G_args": {"func_name": "training.networks_stylegan2.G_main"},
    "D_loss_args": {"gamma": 0.05},
    "dataset_args": {"tfrecord_dir": "/home/me/secret/symbols-32/"},
    "config": "config-f",
}
FACTS = {"nimg": 24000, "seconds": 123.4, "hardware": "1 CPU (a processor)", "parameters": 3845, "software": "x 1.0"}


def card(shape=(3, 32, 32), options=None, **facts):
    return model_card.text(
        "network-final.pkl", options=LoopOptions(**{**OPTIONS, **(options or {})}), shape=shape, **{**FACTS, **facts}
    )


def rows(text):
    return dict(re.findall(r"^\| ([^|]+) \| (.*) \|$", text, re.MULTILINE))


def test_a_plain_run():
    text = card(data={"images": 300, "label_names": []}, metrics={})
    assert text.startswith("# symbols-32, 32x32\n\nA StyleGAN2 generator of images of 32x32 pixels, RGB, trained on ")
    assert "](network-final.png)" in text and "No metrics were computed. `python run_metrics.py --network=" in text
    assert rows(text) == {
        **{"data set": "`symbols-32`", "content": "300 images, no labels", "configuration": "`config-f`"},
        **{"real images shown": "24 thousand", "time": "2m 03s, at the end on 1 CPU (a processor)"},
        **{"generator": "3,845 parameters", "R1 gamma": "0.05", "software": "x 1.0"},
    }
    assert "class" not in text and "/home" not in text and text.endswith("what it is not.\n")


def test_classes_transparency_and_other_proportions():
    facts = {"data": {"images": 1, "classes": ["cats", "dogs"]}, "label_size": 2, "augmentation": "xflip; fixed p = 1"}
    options = {
        "G_args": {"func_name": "training.networks.G_main", "num_fp16_res": 4},
        "D_args": {"freeze_layers": 1},
        "sched_args": {"minibatch_size_base": 32},
        "mirror_augment": True,
        "resume_pkl": "ffhq256",
    }
    text = card((4, 48, 32), options, **facts)
    assert "A StyleGAN2-ADA generator of images of 48x32 pixels (height x width), RGB with transparency, " in text
    found = rows(text)
    assert found["content"] == "1 image, 2 classes: cats, dogs" and found["labels"].startswith("the network takes 2 ")
    assert found["mirrored"] and found["started from"] == "`ffhq256`" and found["minibatch"] == "32 images"
    assert found["not trained"] == "the first 1 layer of D" and found["augmentation"] == "xflip; fixed p = 1"
    assert found["precision"] == "16 bit in the 4 highest resolutions"
    assert " --class-idx=0 " in text and "class_idx=0)  # uint8 [2, 48, 32, 4]" in text
    text = card(label_size=3, data={"images": 1, "label_names": ["a", "b", "c"]})
    assert " --label=0,0,0 " in text and "label=[0] * 3)" in text
    assert rows(card(data={"images": 1, "classes": ["a"]}))["labels"] == "not trained with"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("/home/me/nets/ffhq.pkl", "ffhq.pkl"),
        ("C:\\Users\\me\\ffhq.pkl", "ffhq.pkl"),
        ("/home/me/results/00003-run/network-snapshot-000800.pkl", "00003-run/network-snapshot-000800.pkl"),
        ("https://me:word@host/nets/a.pkl?token=1", "https://host/nets/a.pkl"),
        ("gdrive:networks/stylegan2-ffhq-config-f.pkl", "gdrive:networks/stylegan2-ffhq-config-f.pkl"),
    ],
)
def test_where_it_started(given, told):
    text = card(options={"resume_pkl": given, "resume_partial": True})
    assert rows(text)["started from"] == f"`{told}`, as far as it fits"


def test_nothing_in_a_name_is_markdown():
    """Names of data sets and classes may be anything."""
    name = "a|b`c<img src=x>\n# d"
    text = card(options={"dataset_args": {"tfrecord_dir": name}}, data={"images": 1, "classes": [name, "*x*"]})
    assert len(re.findall("^#", text, re.MULTILINE)) == 6  # its own headings
    assert "<img" not in re.sub(r"`[^`]*`", "", re.sub(r"\\.", "", text))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in table)


def test_without_what_is_known_of_images():
    text = card((2, 8, 8), {"dataset_args": {"class_name": "my.Dataset"}, "config": None})
    found = rows(text)
    assert found["content"] == "not known" and found["configuration"] == "none by name" and " 2 channels, " in text


def test_metrics(tmp_path):
    """The last value of each, and of which network; of lines that are damaged or of others, nothing."""
    for name, records in {
        "fid50k": [("/a/network-snapshot-000001.pkl", {"fid50k": 9.0}), ("/a/network-final.pkl", {"fid50k": 1.23456})],
        "pr50k3": [("n.pkl", {"pr50k3_precision": 0.5, "pr50k3_recall": 0.25})],
    }.items():
        lines = [json.dumps({"network_pkl": pkl, "results": results}) for pkl, results in records]
        (tmp_path / f"metric-{name}.jsonl").write_text("\n".join(lines) + "\n")
    for number, line in enumerate(("", "{", "[1]", '{"results": 1, "network_pkl": "x"}')):
        (tmp_path / f"metric-other{number}.jsonl").write_text(line)
    expected = {"fid50k": (1.23456, "network-final.pkl"), "pr50k3_precision": (0.5, "n.pkl")}
    found = model_card.metrics_of(tmp_path)
    assert found == {**expected, "pr50k3_recall": (0.25, "n.pkl")}
    asked = {"metric_arg_list": [{"name": name} for name in ("fid50k", "is50k", "pr50k3")]}
    text = card(options=asked, metrics=found)
    assert "| fid50k | 1.235 | `network-final.pkl` |" in text
    assert "not computed (`log.txt` of the run says why): is50k.\n" in text


@pytest.mark.parametrize(
    ("image", "grid", "sample"),
    [
        ((32, 32), (32, 32), (8, 16)),
        ((256, 256), (4, 7), (4, 7)),
        ((1024, 1024), (4, 7), (1, 2)),
        ((4096, 4096), (1, 1), (1, 1)),
        ((128, 64), (16, 30), (8, 16)),
    ],
)
def test_size_of_the_picture(image, grid, sample):
    assert model_card.sample_size(image, grid) == sample


def test_the_picture_is_a_corner_of_the_grid():
    grid, saved = object.__new__(snapshots.ImageGrid), []
    grid.grid_size, grid.reals, grid.drange_net = (20, 10), np.zeros([1, 3, 32, 32]), (-1, 1)
    grid._fakes = lambda Gs, number, minibatch_size: np.arange(number).reshape(-1, 1, 1, 1)
    grid._save = lambda images, *args: saved.append((images, args))
    grid.save_sample(None, "x.png", 4)
    ((images, args),) = saved
    assert images[:, 0, 0, 0].tolist() == [20 * row + column for row in range(8) for column in range(16)]
    assert args == ("x.png", (-1, 1), (16, 8))
