"""Starts trainings as forks of a process that has imported everything: `python fork_server.py`, one a line of stdin.

A line is `[folder, log file, arguments of run_training.py]` in JSON. The answer is a line with the process's id, and
when that has ended another with its status. Most of the time that a tiny training takes is that of imports.
"""

import json
import os
import signal
import sys
import traceback

from dnnlib import command_line


def serve():
    command_line.import_tensorflow_quietly()
    import run_training
    import training.training_loop  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        folder, log, args = json.loads(line)
        pid = os.fork()
        if pid == 0:
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
            os.chdir(folder)
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.argv = ["run_training.py", *args]
            code = 1
            try:
                run_training.main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
