"""Whether this machine is fit: `python -m dnnlib.tflib.doctor`, and the first lines of training logs."""

from . import machine, verdicts


def examine_machine(results: str) -> machine.Machine:
    """The facts, of this process' TensorFlow. results: the folder that results go to."""
    return machine.gather(results, machine.examine_tensorflow())


def lines_for_log(results: str) -> list[str]:
    """What a log begins with: the machine in a line, and what is not as it should be.

    results: the folder that results go to.
    """
    findings = verdicts.examine(examine_machine(results))
    kept = {"TensorFlow", "Driver", "GPU", "Custom ops", "Memory"}
    fine = [str(finding) for finding in findings if finding.verdict == verdicts.OK and finding.subject in kept]
    return ["; ".join(fine), *(f"{f.verdict.capitalize()}: {f}" for f in findings if f.verdict != verdicts.OK)]
