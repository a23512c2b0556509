"""`misc.parse_config_for_previous_run`: the arguments of runs, read from submit_config.pkl without executing it."""

import os
import pickle
from pathlib import Path

import pytest
import weight_writers as writers

from dnnlib import EasyDict, SubmitConfig
from training import misc

PREVIOUS = Path(__file__).parent.parent / "goldens" / "previous_version" / "runs" / "stylegan2"
KWARGS = {"total_kimg": 25000, "G_args": EasyDict(func_name="x"), "dataset_args": EasyDict(tfrecord_dir="ffhq")}


def official(kwargs):
    """As Python 3.6 wrote it, where platform settings are an object with attributes."""
    submit = "dnnlib.submission.submit"
    extras = writers.Instance(writers.Name(submit, "PlatformExtras"), {"data_reader_buffer_size": 1 << 30})
    target = writers.Call(writers.Name(submit, "SubmitTarget"), (1,))
    local = writers.Instance(writers.Name("dnnlib.submission.internal.local", "TargetOptions"), {"sources": True})
    items = {"platform_extras": extras, "submit_target": target, "local": local, "run_func_kwargs": kwargs}
    return writers.dumps(writers.Instance(writers.Name(submit, "SubmitConfig"), items), 3)


@pytest.mark.parametrize("protocol", [2, 3, 5])
def test_our_own(protocol, tmp_path):
    config = SubmitConfig()
    config.run_func_kwargs = EasyDict(KWARGS)
    (tmp_path / "submit_config.pkl").write_bytes(pickle.dumps(config, protocol))
    parsed = misc.parse_config_for_previous_run(str(tmp_path))
    assert parsed == {"train": KWARGS, "dataset": {"tfrecord_dir": "ffhq"}}
    assert parsed["train"].G_args.func_name == "x" and parsed["dataset"].tfrecord_dir == "ffhq"


def test_official_ones(tmp_path):
    (tmp_path / "submit_config.pkl").write_bytes(official(dict(KWARGS, G_args={"a": 1}, dataset_args={"b": [2]})))
    parsed = misc.parse_config_for_previous_run(tmp_path)
    assert parsed["train"].G_args.a == 1 and parsed["dataset"].b == [2]
    assert misc.parse_config_for_previous_run(PREVIOUS)["dataset"].tfrecord_dir


def test_nothing_is_executed(tmp_path):
    path = tmp_path / "submit_config.pkl"
    call = writers.Call(writers.Name("os", "mkdir"), (str(tmp_path / "made"),))
    for content in (official({"a": call}), writers.dumps([1]), b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(pickle.UnpicklingError, match=r"submit_config\.pkl"):
            misc.parse_config_for_previous_run(tmp_path)
    assert os.listdir(tmp_path) == ["submit_config.pkl"]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        misc.parse_config_for_previous_run(tmp_path)
