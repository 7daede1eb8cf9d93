"""What can go wrong while an expert is made; every message says what to do next."""


class TrainingError(Exception):
    """The person at the keyboard can put it right; shown without a traceback."""


class BadRecipe(TrainingError):
    """The recipe file cannot be used as it stands."""


class NotAllowed(TrainingError):
    """Rights or terms forbid the step."""


class BadCorpus(TrainingError):
    """The texts are missing, unreadable or too few."""


class SourceFault(TrainingError):
    """A site or data set did not give what was asked for."""


class TrainingStopped(TrainingError):
    """Training broke off; the last good checkpoint is kept."""


class NotPublished(TrainingError):
    """The expert folder was left as it was."""
