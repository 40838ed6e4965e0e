"""Errors that are the user's to mend: one line that names the value, what is allowed and what to
do."""


class AvsrError(Exception):
    """A mistake or a limit that the command line prints as one line and turns into exit status 1.

    The message says what is wrong, what is allowed and what to do; it never holds a traceback.
    """


class UsageError(AvsrError):
    """A request that is wrong whatever the files hold, such as options that contradict each other:
    exit status 2."""


class MediaError(AvsrError):
    """A media file that cannot be used: missing, empty, not media, or with neither sound nor
    picture."""
