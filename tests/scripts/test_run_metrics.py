"""`run_metrics.py` as a user runs it, with metric networks of random weights from files."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import metric_stubs
import pytest

from dnnlib.util import call_func_by_name
from metrics.metric_defaults import metric_defaults, needs_reals, with_num_images

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def place(tmp_path):
    """A folder with networks and a data set."""
    metric_stubs.make_network(tmp_path / "a.pkl")
    metric_stubs.make_network(tmp_path / "b.pkl", seed=1)
    metric_stubs.make_dataset(tmp_path / "datasets" / "cats", 20)
    return tmp_path


def run(cwd, *args):
    return subprocess.run(
        [sys.executable, ROOT / "run_metrics.py", *map(str, args)],
        **{"cwd": cwd, "capture_output": True, "text": True, "timeout": 300, "check": False},
    )


def test_several_networks_and_metrics(place, metric_networks):
    command = ["--network=a.pkl,b.pkl", "--metrics=fid50k,is50k,kid50k_full,ppl_wend,ppl_zfull,fid5k", "--dataset=cats"]
    command += ["--num-images=12", f"--metric-networks={metric_networks}", "--json=results.json", "--minibatch-size=6"]
    result = run(place, *command)
    assert result.returncode == 0, result.stderr
    records = json.loads((place / "results.json").read_text())
    assert [record["network"] for record in records] == ["a.pkl", "b.pkl"]
    names = ["fid0.012k", "is0.012k_mean", "is0.012k_std", "kid0.012k_full", "ppl_wend_0.012k", "ppl_zfull_0.012k"]
    (run_dir,) = (place / "results").iterdir()
    assert run_dir.name == "00000-run-metrics"
    for record in records:
        assert list(record["results"]) == names and not record["failed"]
        for metric in ("fid0.012k", "kid0.012k_full", "ppl_wend_0.012k"):
            value = record["results"][metric]
            fmt = "%.8f" if "kid" in metric else "%.4f"
            lines = (run_dir / f"metric-{metric}.txt").read_text().splitlines()
            line = lines[records.index(record)]
            assert re.fullmatch(rf"{record['network'][:1]} +time [\dhms ]+ +{metric} {fmt % value}", line)
            assert line in result.stdout and line in (run_dir / "log.txt").read_text()
            written = (run_dir / f"metric-{metric}.jsonl").read_text().splitlines()[records.index(record)]
            assert json.loads(written)["results"] == {metric: value}
            assert json.loads(written)["seed"] == 0 and json.loads(written)["dataset_args"] == {"tfrecord_dir": "cats"}
            assert "classify_image_graph_def.pb" in written or "vgg16_zhang_perceptual.pkl" in written
    header, *rows = result.stdout.splitlines()[-4:-1]
    assert header.split() == ["network", *names]
    assert [row.split()[0] for row in rows] == ["a.pkl", "b.pkl"]
    assert f"{records[1]['results']['fid0.012k']:.6g}" in rows[1]
    # Each image once for all metrics: features and softmax, of two networks, and those of the reals once.
    assert result.stdout.count("Computing inception_v3_features, inception_v3_softmax of 12 generated images") == 2
    assert result.stdout.count("of 20 real images") == 1
    assert [path.suffix for path in (place / ".stylegan2-cache" / "metrics").iterdir()] == [".rows"]


@pytest.mark.slow  # the rules are those of test_metric_base.py
def test_the_data_set_is_that_of_the_training(place, metric_networks):
    run_dir = place / "results" / "00000-training"
    run_dir.mkdir(parents=True)
    shutil.copy(place / "a.pkl", run_dir / "network-snapshot-000001.pkl")
    options = {"data_dir": str(place / "datasets"), "dataset_args": {"tfrecord_dir": "cats"}, "mirror_augment": True}
    options |= {name: {} for name in ("G_args", "D_args", "sched_args", "tf_config")}
    options |= {"run_func_name": "training.training_loop.training_loop", "num_gpus": 1}
    options["data"] = {"images": 19, "label_names": []}
    (run_dir / "training_options.json").write_text(json.dumps(options))
    common = ["--metrics=fid50k", "--num-images=8", f"--metric-networks={metric_networks}", "--json=-"]
    result = run(place, f"--network={run_dir}/network-snapshot-*.pkl", *common)
    assert result.returncode == 0, result.stderr
    trained = "; the network was trained with 19 images, no labels"
    assert f"Real images: 20 images, no labels{trained}.\n" in result.stderr
    record = json.loads((run_dir.parent / "00001-run-metrics" / "metric-fid0.008k.jsonl").read_text())
    assert record["mirror_augment"] is True
    assert f'"fid0.008k": {record["results"]["fid0.008k"]}' in result.stdout
    (kept,) = (place / ".stylegan2-cache" / "metrics").glob("*.rows")
    assert kept.name.startswith("cats-mirrored-inception_v3_features-")
    truncated = run(place, f"--network={run_dir}/network-snapshot-*.pkl", *common, "--truncation-psi=0.1", "--seed=3")
    record = json.loads((run_dir.parent / "00002-run-metrics" / "metric-fid0.008k.jsonl").read_text())
    assert truncated.returncode == 0, truncated.stderr
    assert record["Gs_kwargs"] == {"truncation_psi": 0.1} and record["seed"] == 3


def test_a_missing_data_set_is_found_at_once(place):
    """Before TensorFlow is imported, and for all networks."""
    run_dir = place / "results" / "00000-training"
    run_dir.mkdir(parents=True)
    shutil.copy(place / "a.pkl", run_dir / "network-final.pkl")
    options = {"data_dir": str(place / "moved"), "dataset_args": {"tfrecord_dir": "cats"}}
    options |= {name: {} for name in ("G_args", "D_args", "sched_args", "tf_config")}
    options |= {"run_func_name": "training.training_loop.training_loop", "num_gpus": 1}
    (run_dir / "training_options.json").write_text(json.dumps(options))
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules['tensorflow'] = None; import run_metrics; "
    command = [f"--network=a.pkl,{run_dir}/network-final.pkl", "--metrics=pr50k3,is50k,fid5k"]
    result = subprocess.run(
        [sys.executable, "-c", code + "run_metrics.main()", *command],
        **{"cwd": place, "capture_output": True, "text": True, "check": False},
    )
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "Error: --network=a.pkl: pr50k3, fid5k: needs a data set, and this network is not in the folder of a training; "
        "give --dataset",
        f"--network={run_dir}/network-final.pkl: pr50k3, fid5k: needs the data set of its training, and there is no "
        f"{place}/moved/cats; give --data-dir or --dataset",
    ]
    assert len(list(run_dir.parent.iterdir())) == 1


def test_which_metrics_need_real_images():
    for name, kwargs in metric_defaults.items():
        metric = call_func_by_name(**kwargs)
        assert needs_reals(name) == any(request.images != "generated" for request in metric.requests()), name


def test_what_cannot_be_had(place):
    result = run(place, "--network=a.pkl", "--dataset=cats", "--metrics=fid50k,pr50k3", "--offline")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "metric fid50k failed: inception_v3_features.pkl is not in the cache" in result.stdout
    assert "metric pr50k3 failed: vgg16.pkl is not in the cache" in result.stdout
    assert result.stderr.splitlines()[-1] == "Error: 2 metrics could not be computed; see above"


def test_all_mistakes_at_once(place):
    result = run(
        *(place, "--network=c.pkl,gdrive:networks/stylegan2-ffhq-config-g.pkl", "--metrics=fid50,fid50k"),
        *("--dataset=cat", "--metric-networks=nowhere", "--json=none/x.json"),
    )
    assert result.returncode == 1 and not (place / "results").exists()
    assert [line[:48] for line in result.stderr.splitlines()] == [
        "Error: unknown metric 'fid50' (did you mean fid50k?)"[:48],
        "--metric-networks=nowhere: there is no such folder"[:48],
        "--network: c.pkl: no such file (did you mean b.pkl?)"[:48],
        "--network: 'gdrive:networks/stylegan2-ffhq-config-g.pkl'"[:48],
        f"--json: {place}/none/x.json"[:48],
        "--dataset=cat: there is no datasets/cat (did you mean cats?)"[:48],
    ]
    for arguments, message in (
        (["--network=a.pkl", "--num-images=0"], "argument --num-images: expected an integer of 1 or more, got '0'"),
        (["--metrics=fid50k"], "the following arguments are required: --network"),
        (["--network=a.pkl", "--metric=fid50k"], "unrecognized arguments: --metric=fid50k (did you mean --metrics?)"),
    ):
        result = run(place, *arguments)
        assert result.returncode == 2 and result.stderr.splitlines()[-1].endswith(message)


def test_inspect(place, metric_networks):
    result = run(place, "inspect", metric_networks / "classify_image_graph_def.pb", "a.pkl")
    assert result.returncode == 0, result.stderr
    assert "mixed_10/tower_2/conv/conv2d_params" in result.stdout and "[1, 1, 2048, 192]" in result.stdout
    assert "training.networks_stylegan2" in result.stdout or "G_main" in result.stdout
    assert "G_synthesis/4x4/Conv/weight" in result.stdout
    (place / "bad.pkl").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    result = run(place, "inspect", "bad.pkl", "none.pkl")
    assert result.returncode == 1 and not (place / "hacked").exists()
    errors = result.stderr.partition("Error: ")[2].splitlines()
    assert len(errors) == 2 and "bad.pkl" in errors[0] and "none.pkl" in errors[1]
    assert "Traceback" not in result.stderr


def test_names_of_other_numbers():
    def name(metric, number):
        return with_num_images(metric_defaults[metric], number).name

    assert name("fid50k", 50000) == "fid50k" and name("fid50k", 5000) == "fid5k" and name("fid5k", 50000) == "fid50k"
    assert name("pr50k3_full", 1234) == "pr1.234k3_full" and name("is50k", 123456) == "is123.456k"
    assert name("ppl_zfull", 2000) == "ppl_zfull_2k" and name("ls", 200000) == "ls"
    assert with_num_images(metric_defaults["ls"], 1000).num_keep == 500
    assert with_num_images(metric_defaults["kid50k_full"], 100).max_reals == 1000000


def test_help_is_in_docs(place):
    result = subprocess.run(
        [sys.executable, ROOT / "run_metrics.py", "--help"],
        **{"env": {"COLUMNS": "100", "PATH": ""}, "capture_output": True, "text": True, "check": False},
    )
    documented = (ROOT / "docs" / "run_metrics-help.txt").read_text()
    assert " ".join(result.stdout.split()) == " ".join(documented.split())
