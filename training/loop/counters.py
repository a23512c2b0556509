"""Where a training is: what changes from iteration to iteration, beside variables. States hold it."""

from dataclasses import dataclass, field


@dataclass
class Counters:
    """The counters of a training."""

    cur_nimg: int = 0  # real images shown
    iteration: int = 0  # counts for the regularization intervals
    repeat: int = 0  # iterations since the schedule was looked at
    sched_nimg: int = -1  # images shown when it was
    prev_lod: float = -1.0
    cur_tick: int = -1
    tick_start_nimg: int = 0
    tick_is_open: bool = False  # its line is printed, but not all that it has to do is done
    maintenance_sec: float = 0.0
    sec_per_kimg: float = 0.0  # of the last tick, without compiling; 0: not known yet
    bad_updates: dict[str, int] = field(default_factory=dict)  # in a row, by phase
    skipped: int = 0  # updates skipped so far
    skipped_before_tick: int = 0
    last_snapshot: str = ""  # file name of the newest pickle saved while all updates were good
    tick_sec: float = 0.0  # spent in the tick so far
    total_sec: float = 0.0  # spent so far
    done: bool = False
