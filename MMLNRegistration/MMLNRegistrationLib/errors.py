"""The two ways a command can end badly that a user should read about in one sentence."""


class InputError(Exception):
    """Bad input or usage. The message is one clear sentence: what is wrong and what to do. Exit code 2."""


class RegistrationError(Exception):
    """The input was fine, but no trustworthy result could be made from it. Exit code 1."""
