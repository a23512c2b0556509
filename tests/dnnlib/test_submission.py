"""Run folders, and the helpers of `dnnlib.util`."""

import errno
import fcntl
import multiprocessing
import os
import pickle
import re
import sys
import time

import pytest

import dnnlib
from dnnlib import EasyDict, util
from dnnlib.errors import UserError
from dnnlib.files import atomic_write, only_one

pytestmark = pytest.mark.one_stack


def work(number):
    print("working")
    print("on stderr", file=sys.stderr)
    with open(dnnlib.make_run_dir_path("result.txt"), "w") as file:
        file.write(str(number))
    return number + 1


def fail(with_result):
    if with_result:
        work(1)
    raise UserError("the flag is wrong")


def config(root, desc="desc"):
    submit_config = dnnlib.SubmitConfig()
    submit_config.run_dir_root = str(root)
    submit_config.run_desc = desc
    return submit_config


def test_run_folder(tmp_path, capsys):
    (tmp_path / "00007-older").mkdir()
    assert dnnlib.submit_run(config(tmp_path), "test_submission.work", number=3) == 4
    run_dir = tmp_path / "00008-desc"
    assert sorted(os.listdir(run_dir)) == [
        *("_finished.txt", "log.txt", "result.txt", "run.txt", "submit_config.pkl", "submit_config.txt"),
    ]
    lines = (run_dir / "log.txt").read_text().splitlines()
    assert lines[:3] == ["dnnlib: Running test_submission.work() on localhost...", "working", "on stderr"]
    assert lines[3].startswith("dnnlib: Finished test_submission.work() in ")
    assert capsys.readouterr().out.startswith(f"Local submit - run_dir: {run_dir}\n")
    text = (run_dir / "submit_config.txt").read_text()
    assert "'run_func_kwargs': {'number': 3}" in text and "'run_name': '00008-desc'" in text
    assert {"start_time", "stop_time", "task_name", "host_name"} <= set(eval((run_dir / "run.txt").read_text()))
    with open(run_dir / "submit_config.pkl", "rb") as file:
        assert pickle.load(file).run_func_kwargs == {"number": 3}
    assert dnnlib.submit_config is None
    assert dnnlib.make_run_dir_path("a", "b") == os.path.join(os.getcwd(), "a", "b")


def test_failed_runs(tmp_path):
    out, err = sys.stdout, sys.stderr
    with pytest.raises(UserError):
        dnnlib.submit_run(config(tmp_path), "test_submission.fail", with_result=False)
    assert os.listdir(tmp_path) == []
    with pytest.raises(UserError):
        dnnlib.submit_run(config(tmp_path), fail, with_result=True)
    run_dir = tmp_path / "00000-desc"
    assert "_finished.txt" not in os.listdir(run_dir)
    assert "failed: the flag is wrong" in (run_dir / "log.txt").read_text()
    assert (sys.stdout, sys.stderr) == (out, err)


def go_on(text, resume_run_dir):
    config = dnnlib.submit_config
    assert "_finished.txt" not in os.listdir(config.run_dir)
    assert (config.run_dir, config.num_gpus, config.run_func_kwargs["text"]) == (resume_run_dir, 2, text)
    os.truncate(os.path.join(config.run_dir, "log.txt"), 6)
    print(text)
    if text == "wrong":
        raise UserError("the flag is wrong")
    if text == "again":
        dnnlib.submission.submit.resume_run(resume_run_dir, "test_submission.go_on")
    return config


def test_runs_that_go_on(tmp_path):
    dnnlib.submit_run(config(tmp_path), "test_submission.work", number=3)
    run_dir = str(tmp_path / "00000-desc")
    before = (tmp_path / "00000-desc" / "submit_config.txt").read_text()

    def resume(text):
        resume_run = dnnlib.submission.submit.resume_run
        return resume_run(run_dir, "test_submission.go_on", num_gpus=2, text=text, resume_run_dir=run_dir)

    used = resume("hello")
    assert (used.run_id, used.run_desc, used.run_name) == (0, "desc", "00000-desc")
    assert (used.run_dir_root, used.run_func_name) == (str(tmp_path), "test_submission.go_on")
    log = (tmp_path / "00000-desc" / "log.txt").read_text()
    assert re.fullmatch(r"dnnlibhello\ndnnlib: Finished test_submission.go_on\(\) in \d+s.\n", log)
    assert "_finished.txt" in os.listdir(run_dir)
    assert (tmp_path / "00000-desc" / "submit_config.txt").read_text() == before

    with pytest.raises(UserError, match="the flag is wrong"):
        resume("wrong")
    with pytest.raises(UserError, match="00000-desc: a run is in progress in this folder"):
        resume("again")
    assert {"result.txt", "log.txt"} < set(os.listdir(run_dir)) and "_finished.txt" not in os.listdir(run_dir)
    assert dnnlib.submit_config is None
    with pytest.raises(UserError, match="no such run folder"):
        dnnlib.submission.submit.resume_run(str(tmp_path / "none"), "test_submission.go_on")

    for name in ("result.txt", "submit_config.txt", "submit_config.pkl"):  # what looks like a run without results
        os.unlink(os.path.join(run_dir, name))
    renamed = tmp_path / "renamed"
    os.rename(run_dir, renamed)
    run_dir = str(renamed)
    with pytest.raises(UserError, match="the flag is wrong"):
        resume("wrong")
    assert (renamed / "log.txt").exists()
    assert resume("hello").run_desc == "renamed"


def _submit_some(root, number):
    for _ in range(5):
        dnnlib.submit_run(config(root, f"process{number}"), "test_submission.work", number=number)


def test_runs_that_start_at_once_get_different_numbers(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_submit_some, args=(tmp_path, i)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    numbers = sorted(int(name[:5]) for name in os.listdir(tmp_path))
    assert numbers == list(range(20))


def wait_inside():
    open(dnnlib.make_run_dir_path("inside"), "w").close()
    time.sleep(60)


def _resume_and_wait(run_dir):
    dnnlib.submission.submit.resume_run(run_dir, "test_submission.wait_inside")


def test_a_run_in_progress_is_left_alone_and_a_killed_one_goes_on(tmp_path):
    dnnlib.submit_run(config(tmp_path), "test_submission.work", number=3)
    assert os.listdir(tmp_path) == ["00000-desc"]
    run_dir = str(tmp_path / "00000-desc")
    process = multiprocessing.get_context("spawn").Process(target=_resume_and_wait, args=(run_dir,))
    process.start()
    try:
        while process.is_alive() and not os.path.exists(os.path.join(run_dir, "inside")):
            time.sleep(0.01)
        log = (tmp_path / "00000-desc" / "log.txt").read_text()
        with pytest.raises(UserError, match="00000-desc: a run is in progress in this folder"):
            dnnlib.submission.submit.resume_run(run_dir, "test_submission.work", number=4)
        assert (tmp_path / "00000-desc" / "log.txt").read_text() == log
    finally:
        process.kill()
        process.join()
    assert dnnlib.submission.submit.resume_run(run_dir, "test_submission.work", number=4) == 5
    assert {"_finished.txt", "inside"} < set(os.listdir(run_dir)) and ".lock" not in os.listdir(run_dir)


def _hold(lock, inside, seconds):
    with only_one(lock):
        inside.set()
        time.sleep(seconds)


def test_locks(tmp_path, capfd, monkeypatch):
    lock = tmp_path / "lock"
    with only_one(lock) as locked:
        assert locked and lock.exists()
        with pytest.raises(UserError, match="^it is busy$"), only_one(lock, busy="it is busy"):
            pass
        assert lock.exists()
    assert os.listdir(tmp_path) == []
    context = multiprocessing.get_context("spawn")
    for kill in (False, True):
        inside = context.Event()
        process = context.Process(target=_hold, args=(lock, inside, 60 if kill else 1))
        process.start()
        inside.wait()
        if kill:
            process.kill()
            process.join()
        with only_one(lock, "waiting") as locked:
            assert locked
        process.join()
        assert capfd.readouterr().err == ("" if kill else "waiting\n")
        assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match="test_submission.py"), only_one(__file__ + "/is_a_file"):
        pass

    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with only_one(lock, busy="it is busy") as locked:  # a file system without locks
        assert not locked
    assert os.listdir(tmp_path) == []


def test_easy_dict():
    d = EasyDict(a=1)
    d.b = [2]
    assert d["b"] == [2] and d.a == 1
    del d.a
    assert not hasattr(d, "a")
    assert pickle.loads(pickle.dumps(d)) == d


def test_format_time():
    times = {5: "5s", 65.4: "1m 05s", 3600: "1h 00m 00s", 90061: "1d 01h 01m"}
    assert {t: util.format_time(t) for t in times} == times


def test_names_of_objects():
    assert util.get_obj_by_name("dnnlib.util.EasyDict") is EasyDict
    assert util.get_obj_by_name("os.path.join") is os.path.join
    assert util.call_func_by_name("a", "b", func_name="os.path.join") == os.path.join("a", "b")
    assert util.get_top_level_function_name(util.format_time) == "dnnlib.util.format_time"
    assert util.is_top_level_function(util.format_time) and not util.is_top_level_function(lambda: 0)
    assert util.get_module_dir_by_obj_name("dnnlib.util.EasyDict") == os.path.dirname(util.__file__)
    assert util.construct_class_by_name({"a": 1}, class_name="dnnlib.util.EasyDict").a == 1
    assert util.is_pickleable([1, "a"]) and not util.is_pickleable(lambda: 0)
    for name in ("dnnlib.util.nix", "nix.nix", "nix"):
        with pytest.raises(ImportError):
            util.get_obj_by_name(name)


def test_files(tmp_path):
    for name in ("a.py", "sub/b.txt", "__pycache__/c"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(name)
    files = util.list_dir_recursively_with_ignore(str(tmp_path / "src"), ["__pycache__"], add_base_to_relative=True)
    assert sorted(relative for _, relative in files) == ["src/a.py", "src/sub/b.txt"]
    util.copy_files_and_create_dirs([(path, str(tmp_path / "to" / relative)) for path, relative in files])
    assert (tmp_path / "to" / "src" / "sub" / "b.txt").read_text() == "sub/b.txt"


def test_types_and_urls():
    assert util.get_dtype_and_ctype("float32")[0] == "float32"
    with pytest.raises(ValueError, match="unknown type"):
        util.get_dtype_and_ctype("complex64")
    assert util.tuple_product((2, 3, 4)) == 24
    assert util.is_url("https://x.org/a") and not util.is_url("a/b") and not util.is_url(3)
    assert util.is_url("file:///a", allow_file_urls=True) and not util.is_url("file:///a")


def test_logger(tmp_path, capsys):
    with util.Logger(str(tmp_path / "log.txt")):
        print("line")
        print("\rprogress", end="")
        print("error", file=sys.stderr)
    assert (tmp_path / "log.txt").read_text() == "line\nerror\n"
    captured = capsys.readouterr()
    assert captured.out == "line\n\rprogress" and captured.err == "error\n"


def test_atomic_write(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as file:
        file.write(b"1")
        assert not path.exists()
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"2")
        raise RuntimeError
    assert path.read_bytes() == b"1" and os.listdir(tmp_path) == ["file"]
    assert os.stat(path).st_mode & 0o777 == 0o666 & ~current_umask()
    with pytest.raises(OSError, match="missing") as error, atomic_write(tmp_path / "missing" / "file"):
        time.sleep(0)
    assert error.value.filename == str(tmp_path / "missing" / "file")


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_submit_config_is_of_whoever_sets_it():
    dnnlib.submit_config = dnnlib.SubmitConfig()
    try:
        dnnlib.submit_config.run_dir = "/somewhere"
        assert dnnlib.make_run_dir_path("a") == os.path.join("/somewhere", "a")
    finally:
        dnnlib.submit_config = None
    assert dnnlib.make_run_dir_path("a") == os.path.join(os.getcwd(), "a")
