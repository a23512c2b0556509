"""Scripts run in the process of a test."""

import sys


def runner(script, monkeypatch, capsys):
    """A function that runs a script (its module) with arguments, and returns exit code, stdout and stderr."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, args)])
        code = 0
        try:
            script.main()
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return run
