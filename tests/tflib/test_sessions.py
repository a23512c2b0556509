"""`dnnlib.tflib.sessions` and global names: scripts of TensorFlow 1 over living networks."""

import gc
import subprocess
import sys
import textwrap
from pathlib import Path

import golden
import numpy as np
import pytest

import pretrained_networks
from dnnlib import tflib
from dnnlib.tflib import Network, global_names

ROOT = Path(__file__).parent.parent.parent
DEMO = str(ROOT / "demo" / "symbols-32x32.pkl")
# Two networks mixed, and a constant changed for a while, as scripts do it that look for variables by name.
SCRIPT = """
import pickle, sys
import numpy as np
import tensorflow as tf
tf.logging.set_verbosity(tf.logging.ERROR)
import dnnlib.tflib as tflib

tflib.init_tf()
with tf.Session() as sess, tf.device("/gpu:0"):
    with open(sys.argv[1], "rb") as f:
        G, _, Gs = pickle.load(f)
    name = "G_synthesis_1/4x4/Const/const:0"
    const = [v for v in tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES) if v.name == name][0]
    assert const is Gs.vars["G_synthesis/4x4/Const/const"] and any(v is const for v in tf.trainable_variables())
    before = tflib.run([name])[0]
    tf.get_default_session().run(tf.assign(const, before * 2))
    assert np.array_equal(const.value().eval(), before * 2) and np.array_equal(sess.run(const), before * 2)
    tflib.set_vars(tflib.run({G.vars[n]: Gs.vars[n] * 0.5 + G.vars[n] * 0.5 for n in Gs.trainables}))
    assert np.array_equal(G.vars["G_synthesis/4x4/Const/const"].eval(), before * 1.5)
    try:
        sess.run(const, {const: 0})
    except NotImplementedError as error:
        print(error)
print("done", *sys.argv[2:])
"""


def test_a_script_runs_as_it_is(tmp_path):
    Gs = pretrained_networks.read(DEMO)
    from training import misc

    misc.save_pkl((Gs.clone("G"), None, Gs), tmp_path / "net.pkl")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "dnnlib.tflib.sessions", tmp_path / "script.py", tmp_path / "net.pkl", "--x"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-2:] == [
        "feed_dict needs a graph: call a function of what is fed instead",
        "done --x",
    ]
    command[3] = tmp_path / "none.py"
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1 and "none.py: no such file" in run.stderr and "Traceback" not in run.stderr


def test_variables_by_global_names():
    gc.collect()
    kwargs = {"resolution": 8, "num_channels": 1, "fmap_base": 64, "latent_size": 4, "dlatent_size": 4}
    G = Network("Named", func_name="training.networks_stylegan2.G_main", mapping_layers=1, **kwargs)
    other = G.clone()
    other.set_var("dlatent_avg", golden.rnd(0, 4))
    value = tflib.run({"a": ["Named_1/dlatent_avg:0", other.vars["dlatent_avg"]], "b": "Named/dlatent_avg"})
    np.testing.assert_array_equal(value["a"][0], value["a"][1])
    np.testing.assert_array_equal(value["b"], np.zeros(4))
    with pytest.raises(ValueError, match="did you mean Named_1/dlatent_avg:0"):
        tflib.run("Named_1/dlatent_av:0")
    assert [net for net in global_names.networks() if net.name == "Named"] == [G, other]
    del G
    gc.collect()
    np.testing.assert_array_equal(tflib.run("Named/dlatent_avg:0"), value["a"][1])
    with pytest.raises(ValueError, match="no network has a variable 'Named_1/dlatent_avg:0'"):
        tflib.run("Named_1/dlatent_avg:0")


def test_values_of_what_assignments_return(tmp_path):
    script = """
        import numpy as np
        import tensorflow as tf
        variable = tf.Variable([1.0, 2.0])
        assert variable.assign([3.0, 4.0]).eval(session=tf.Session()).tolist() == [3, 4]
        assert tf.assign_add(variable, [1.0, 1.0]).eval().tolist() == [4, 5]
        assert tf.all_variables() == tf.global_variables() == []
        for value in (variable, tf.constant(1)):
            try:
                value.eval(feed_dict={"placeholder": 0})
            except NotImplementedError as error:
                print(error)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    command = [sys.executable, "-m", "dnnlib.tflib.sessions", tmp_path / "script.py"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("feed_dict needs a graph") == 2
