"""The ways a command can end badly that a user should read about in one sentence."""


class InputError(Exception):
    """Bad input or usage. The message is one clear sentence: what is wrong and what to do. Exit code 2."""


class RegistrationError(Exception):
    """The input was fine, but no trustworthy result could be made from it. Exit code 1."""


_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "bad_alloc", "alloc_failed")
"""How torch, its GPU libraries and ITK say it, in errors of no class of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether work ended because memory did, of the processor or of a GPU."""
    if isinstance(error, RuntimeError):
        return any(words in str(error).lower() for words in _OUT_OF_MEMORY)
    return isinstance(error, MemoryError)
