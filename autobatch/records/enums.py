"""The closed sets of words that records use. Values are what JSON and the shell see."""

from __future__ import annotations

from enum import Enum


class Outcome(str, Enum):
    """How a trial ended."""

    FITS = "fits"
    OUT_OF_MEMORY = "out_of_memory"
    OVER_BUDGET = "over_budget"
    KILLED = "killed"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


class StopReason(str, Enum):
    """Why the search went no further up."""

    MEMORY = "memory"
    MEMORY_EXPECTED = "memory_expected"
    DATASET = "dataset"
    CAP = "cap"
    POSITIONS = "positions"
    PLATEAU = "plateau"
    COST = "cost"
    FAILED = "failed"
    TIME_LIMIT = "time_limit"
    INTERRUPTED = "interrupted"


class Goal(str, Enum):
    """What the recommended size is best at."""

    THROUGHPUT = "throughput"
    MEMORY = "memory"
    EFFICIENCY = "efficiency"


class Precision(str, Enum):
    """The arithmetic of a step."""

    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"


class LearningRateRule(str, Enum):
    """How the learning rate follows the global batch size."""

    AUTO = "auto"
    LINEAR = "linear"
    SQRT = "sqrt"
    NONE = "none"


class Regime(str, Enum):
    """How much of the dataset one optimizer step sees."""

    STOCHASTIC = "stochastic"
    MINI_BATCH = "mini_batch"
    FULL_BATCH = "full_batch"


class Phase(str, Enum):
    """What a measurement is for."""

    SEARCH = "search"
    TIMING = "timing"
    NOISE = "noise"
    CONFIRMATION = "confirmation"
    EVALUATION = "evaluation"
    LENGTHS = "lengths"


class Bottleneck(str, Enum):
    """What bounds the throughput at the recommended size."""

    DATA_LOADING = "data_loading"
    PAGE_FAULTS = "page_faults"
    LAUNCH_OVERHEAD = "launch_overhead"
    DEVICE = "device"


class Status(str, Enum):
    """The verdict on a requirement."""

    MET = "met"
    NOT_MET = "not_met"
    INCONCLUSIVE = "inconclusive"

    @classmethod
    def of(cls, *, is_met: bool | None, is_violated: bool) -> Status:
        """What is neither met nor violated for certain is inconclusive."""
        return cls.MET if is_met else cls.NOT_MET if is_violated else cls.INCONCLUSIVE


class RequirementName(str, Enum):
    """What a check can require; the words are those of the options and of JUnit."""

    FITS = "fits"
    MAX_MEMORY = "max-memory"
    MIN_HEADROOM = "min-headroom"
    MIN_THROUGHPUT = "min-throughput"
    MAX_STEP_TIME = "max-step-time"
    BASELINE_STEP_TIME = "baseline-step-time"
    BASELINE_MEMORY = "baseline-memory"
    MIN_DEVICES = "min-devices"
    MIN_CAPACITY = "min-capacity"
    MIN_FREE = "min-free"
    MIN_CORES = "min-cores"
    MIN_DRIVER = "min-driver"
    REQUIRE = "require"
    NO_THROTTLING = "no-throttling"
    MAX_ECC_ERRORS = "max-ecc-errors"
    MIN_PCIE_WIDTH = "min-pcie-width"
    MAX_OTHER_PROCESSES = "max-other-processes"
    ALL_REDUCE_MIN = "all-reduce-min"


class WarningCode(str, Enum):
    """Warnings about a finding; each has a text and a remedy."""

    DATA_LOADING = "data_loading"
    PAGE_FAULTS = "page_faults"
    ALLOC_RETRIES = "alloc_retries"
    BUSY_MACHINE = "busy_machine"
    OTHER_SEARCHES = "other_searches"
    FALLING_THROUGHPUT = "falling_throughput"
    FEW_UPDATES = "few_updates"
    LOSS_NOT_FINITE = "loss_not_finite"
    LAST_BATCH_OF_ONE = "last_batch_of_one"
    DROP_LAST_DROPS_ALL = "drop_last_drops_all"
    LEAK = "leak"
    NOT_CONFIRMED = "not_confirmed"
    MEMORY_NOT_MONOTONE = "memory_not_monotone"
    GLOBAL_BATCH_REMAINDER = "global_batch_remainder"
    DATASET_SIZE_UNKNOWN = "dataset_size_unknown"
    NO_BASE_LEARNING_RATE = "no_base_learning_rate"
    TRIAL_KILLED = "trial_killed"
    TRIAL_FAILED = "trial_failed"
    THROTTLED = "throttled"
    BUDGET_NOT_ENFORCED = "budget_not_enforced"
    ACCUMULATED_LOSS_DIFFERS = "accumulated_loss_differs"
    ACCUMULATED_BATCH_NORM = "accumulated_batch_norm"
    FINAL_RUN_TOO_LARGE = "final_run_too_large"
    EVALUATION_TOO_LARGE = "evaluation_too_large"
    EVALUATION_FAILED = "evaluation_failed"
    LENGTHS_PARTLY_SCANNED = "lengths_partly_scanned"
    LENGTHS_FAILED = "lengths_failed"
    NO_SIZES_BY_LENGTH = "no_sizes_by_length"
